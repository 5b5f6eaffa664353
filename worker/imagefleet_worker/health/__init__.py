"""Health: the signs of life that a worker writes, and the probes that read them.

- `heartbeat_file`: the file, and the clock and birth of a process
- `heartbeat`: collects what the file says, and writes it
- `limits`: how long a sign of life may be missing; the answer to a probe
- `probes`: judges the heartbeat of one worker; the `health` command
- `device_status`: the same for all devices of a machine

May import nothing of this package: probes run every few seconds and must cost nothing.
"""
