"""Hardware: the devices of this machine.

- `discovery`: which devices there are, without torch
- `torch_device`: torch's view of one: its number format, its memory
- `device_errors`: what an error of torch says of the device
- `watchdog`: ends the process when the device hangs

May import `settings` and `errors`; only `torch_device` and `device_errors` import torch.
"""
