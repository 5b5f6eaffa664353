"""Why a webhook is not delivered."""

from typing import ClassVar

from imagefleet_worker.errors import WorkerError


class AddressRefused(WorkerError):
    """The URL of a webhook leads to an address that senders must not reach.

    Fault: the producer, or IMAGEFLEET_WEBHOOK_ALLOW_HOSTS.
    Remedy: Use a public https URL, or allow the host. `imagefleet webhooks replay` sends the event then.
    """

    code = "address_refused"


class DeliveryFailed(WorkerError):
    """The receiver did not accept the webhook.

    Fault: the receiver or the network.
    Remedy: Nothing at first: it is sent again for IMAGEFLEET_WEBHOOK_RETRY_FOR_S. Then `imagefleet webhooks replay`.
    """

    code = "delivery_failed"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        is_overloaded: bool = True,
    ) -> None:
        super().__init__(message)
        #: The HTTP status of the response; None if none came.
        self.status = status
        #: How long the receiver asked to wait, in seconds.
        self.retry_after_s = retry_after_s
        #: Whether other events for the same endpoint would fare no better now.
        self.is_overloaded = is_overloaded


class DeliveryGone(WorkerError):
    """The receiver answered 410: it wants no more events.

    Fault: nobody; the receiver has decided so.
    Remedy: Send no more jobs with this URL, or replay the event if the receiver is back.
    """

    code = "delivery_gone"
    #: The HTTP status of the response.
    status: ClassVar[int] = 410
