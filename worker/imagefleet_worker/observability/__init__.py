"""Observability: what a worker process reports to its operators.

- `logs`: how log lines look
- `tracing`: spans of attempts and deliveries
- `metrics`, `metrics_server`: counters for Prometheus, and the page that shows them
- `collector`: numbers that are read when Prometheus asks
- `queue_reader`, `queue_page`: the counts of each queue, and the page on which an autoscaler asks for them
- `throughput`: rates over the last minute
- `startup_timing`: how long each phase of the start took

May import `queue`, `hardware`, `settings` and `errors`; only `tracing` imports OpenTelemetry.
"""
