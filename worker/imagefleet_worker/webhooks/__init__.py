"""Webhooks: one try at a delivery, and what follows.

- `sender`: tries a delivery once; postpones it or gives it up if that fails
- `circuit_breakers`, `gone_receivers`: endpoints to which nothing is sent for now
- `fresh_links`: signs the links in an event again
- `notes`: what became of a webhook, for the record of its job
- `delivery`: signs an event and posts it
- `signing_secrets`: which secrets sign for a receiver
- `ssrf_guard`: resolves a receiver's address and checks it
- `http_post`: one POST to the checked addresses within one deadline
- `errors`: why a webhook is not delivered

May import `observability`, `queue`, `settings` and `errors`.
"""
