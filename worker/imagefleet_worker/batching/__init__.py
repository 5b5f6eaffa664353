"""Batching: the device loop, which makes one forward of the calls of several jobs.

- `device_loop`: the one thread that uses the device; jobs take turns in it
- `run`, `admission`: one job on the device, and which jobs may be there now
- `shared_method`, `torch_state`: where runs park, and what of torch they may have changed there
- `batch`, `budget`: which parked calls go together, and how many rows and pixels they may have
- `batch_runner`, `collation`, `tensor_digests`: make one forward of a batch and give each call its rows
- `row_cache`: keeps what text encoders made of texts that come again
- `finite`: whether values are numbers
- `cuda_graphs`, `graph_device`: replay small forwards
- `device_timer`, `calibration`: time forwards, measure how many rows are worth it

May import `hardware`, `settings` and `errors`.
"""
