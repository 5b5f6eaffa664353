"""The client: submits jobs, follows them, cancels them, and reads the state of the fleet.

- `aio`, `async_connection`, `async_subscription`: `AsyncClient`, and what drives operations and watches over a socket
- `blocking`, `connection`, `subscription`: the same for `Client`; `make fix` makes them from the three above
- `redis_client`, `subscription_pool`, `settings`: Redis clients, idle sockets for events, the settings of a client
- `operations`, `submissions`, `cancellation`, `watch`: what to send and how to read the replies, without any I/O
- `signing`: links to images
- `serving`, `receivers`: whether any worker serves a model, and may reach a webhook's receiver
- `outlook`, `overview`, `snapshots`, `webhook_outbox`: what a caller sees of jobs, queues, workers and webhooks

May import `imagefleet.store` and what lies below it.
"""

from imagefleet.client.aio import AsyncClient
from imagefleet.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
