"""The worker: a Celery app whose processes each own one device and one loaded diffusers pipeline."""
