"""The metrics server: the HTTP pages on which Prometheus and autoscalers read the numbers of one process."""

import threading
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import make_wsgi_app, start_http_server

from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.queue_page import QueuePage
from imagefleet_worker.settings import MetricsSettings

_JOIN_S: Final = 10.0


class MetricsServer:
    """Serves *metrics* from threads of its own; without a port in *settings* it serves nothing."""

    def __init__(self, metrics: Metrics, settings: MetricsSettings) -> None:
        self._metrics = metrics
        self._settings = settings
        self._running: tuple[WSGIServer, threading.Thread] | None = None

    @property
    def port(self) -> int | None:
        """The port that it listens on; None while it serves nothing."""
        return self._running[0].server_port if self._running else None

    def start(self) -> None:
        """Listen on the port.

        Raises:
            SettingsInvalid: If another program listens there.
        """
        port, address = self._settings.port, self._settings.address
        if not port:
            return
        try:
            self._running = server, _ = start_http_server(port, addr=address, registry=self._metrics.registry)
        except OSError as error:
            raise SettingsInvalid(
                f"IMAGEFLEET_METRICS_PORT: cannot listen on {address}:{port} ({reason_of(error)}); "
                "give each worker process of a machine a port of its own"
            ) from error
        server.set_app(QueuePage(self._metrics.queues, others=make_wsgi_app(self._metrics.registry)))

    def stop(self) -> None:
        """Close the port."""
        if self._running is None:
            return
        (server, thread), self._running = self._running, None
        server.shutdown()
        server.server_close()
        thread.join(timeout=_JOIN_S)
