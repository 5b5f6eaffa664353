"""Device groups: processes, one for each device, that make every image together and are one worker to the queue.

Rank 0, the leader, is the Celery worker. The others follow: they load the same model, hear of each job from the leader
and render it in lockstep. What they compute together goes through torch.distributed, which nobody enters but in a job.

- `rank`, `parallel_plan`: which process this is, and how an image is divided
- `launcher`, `rendezvous`: start all ranks of a machine; they find each other
- `protocol`, `channel`: what ranks say to each other, and over what
- `startup`, `leader`, `follower`, `parallelism`: build the ranks and let them render

May import `diffusion`, `supervision` and what lies below them. `python -m imagefleet_worker.group --size 2`
"""
