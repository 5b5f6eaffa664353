"""The checks of the doctor; each is a function of a context that gives an outcome.

- `model_files`, `dtype`: the model on this machine's disk
- `redis`, `services`: the queue, the bucket and the clocks
- `provenance`, `images`: what signs and checks images; what jobs get that leave everything open
- `parity`, `throughput`: images that are made on the device

May import what the doctor may.
"""
