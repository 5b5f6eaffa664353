"""Local: a whole fleet on one machine, for its developer.

- `command`, `options`: `imagefleet up`
- `models`, `default_model`: what is served; the tiny model that is served without `--model`
- `data_folder`: where all is kept, for one fleet at a time
- `commits`, `webhook_secret`: what is found out or made at the first start, and kept
- `fleet`: servers and workers, started and ended together
- `redis_server`, `s3_server`, `ports`: an embedded Redis and an embedded S3, and where they listen
- `s3_app`, `kept_objects`: the process of the embedded S3, and its objects as files

May import `supervision`, `observability`, `hardware`, `settings`, `errors` and `health`.
"""
