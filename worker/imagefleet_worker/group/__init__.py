"""Device groups: processes, one for each device, that make every image together and are one worker to the queue.

Rank 0, the leader, is the Celery worker. The others follow: they load the same model, hear of each job from the leader
and render it in lockstep. What they say to each other are `words` over a `channel`; what they compute together goes
through torch.distributed, which nobody enters but in a job.

    python -m imagefleet_worker.group --size 2
"""
