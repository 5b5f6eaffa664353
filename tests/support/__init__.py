"""The real parts that tests stand on: servers, worker processes, a receiver of webhooks."""
