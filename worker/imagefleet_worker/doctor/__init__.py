"""The doctor: looks at a worker's settings, model, device, queue and bucket before any job does."""
