"""Jobs: one attempt at a job, from its message to its recorded end.

- `message`: a claimed message and the job in it, checked
- `running`: the attempts that this process holds, how far each is, and how they are stopped
- `runner`: runs an attempt and records how it ended
- `attempt_ends`: records how jobs end
- `image_maker`: makes the images and has them stored
- `embedded_parameters`: what files say of how they were made
- `watched_image_maker`, `self_test`, `others`: notice that jobs fail in a row, and whether this worker is the reason
- `uploader`, `upload`: store the images of attempts, and write the manifest once
- `storage_retries`: repeats what S3 could not do now
- `render_counter`: notes which images are made again
- `lease_guard`: asks before each write whether the attempt still holds its lease
- `failures`: the result of a job that ended without images
- `progress`, `progress_webhooks`: what is published while a job runs
- `retrying_redis`: commands that are repeated until Redis answers

May import `diffusion`, `storage`, `queue`, `observability`, `hardware`, `settings` and `errors`.
"""
