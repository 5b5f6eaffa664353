"""The doctor: looks at a worker's settings, model, device, queue and bucket before any job does.

- `command`: runs the checks that were asked for
- `registry`: which checks there are
- `context`: what the checks look at
- `outcome`, `report`: what a check found, and how all of it is shown
- `checks`: the checks
- `safetensors_files`, `sample_jobs`, `throughput_curve`, `advice`, `plot`: what the checks need

May import `diffusion`, `batching`, `storage`, `queue` and what lies below them.
"""
