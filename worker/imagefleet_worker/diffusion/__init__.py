"""Diffusion: one loaded pipeline on one device makes images.

- `engine`: the model on its device, used by the threads of all jobs
- `environment`, `loading`: load a diffusers pipeline safely
- `revision`: what identifies the weights
- `optimizations`, `padded_text`: what `IMAGEFLEET_SPEED_*` asks for, and what a CPU gets without asking
- `pipeline_traits`: the facts in which pipelines differ
- `shared_pipeline`, `inference_mode`: put a device loop around the pipeline
- `warm_up`, `first_images`, `trial_runs`: prepare, prove and measure before the first job
- `joining_proof`, `row_proof`, `calibration_record`: what that finds
- `observed_tokenizers`, `prompt_texts`, `warning_finder`, `strict_jobs`: what is not as a job asks for
- `image_checker`: a function of the operator's own that looks at finished images
- `defaults`: what a job becomes that leaves its size and steps open
- `job_run`, `renderer`, `private_copy`, `module_view`: run one job through the pipeline
- `schedulers`, `scheduler_options`: a scheduler for each job
- `step_callback`, `previews`, `preview_throttle`: what a job reports at each step
- `images`, `host_copy`: bring the images to the host

May import `batching`, `hardware`, `settings` and `errors`; `environment`, `strict_jobs`, `image_checker` and `defaults`
do without torch.
"""
