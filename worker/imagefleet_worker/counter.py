"""The counter, as in a post office: what all deliveries of one process share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import redis

from imagefleet.queues import Keys
from imagefleet_worker.burial import Burial
from imagefleet_worker.circuits import Circuits
from imagefleet_worker.gone import GoneReceivers
from imagefleet_worker.leases import Leases
from imagefleet_worker.metrics import Metrics, Outcome
from imagefleet_worker.settings import WebhookSettings


@dataclass(frozen=True, slots=True)
class Counter:
    """What every delivery of this process shares."""

    settings: WebhookSettings
    circuits: Circuits
    gone: GoneReceivers
    #: Puts a message in the place of a claimed one, due after so many seconds.
    postpone: Callable[[str, float, str], None]
    #: Puts a claimed delivery among the dead letters, with a code, a sentence and the number of tries.
    bury: Callable[[str, str, str, int], None]
    #: Counts what came of a try.
    count: Callable[[Outcome], None]

    @classmethod
    def opened(
        cls,
        settings: WebhookSettings,
        *,
        client: "redis.Redis",
        keys: Keys,
        leases: Leases,
        burial: Burial,
        metrics: Metrics,
    ) -> Self:
        """The counter of a process that holds its messages under *leases*."""
        return cls(
            settings=settings,
            circuits=Circuits(settings),
            gone=GoneReceivers(client, keys=keys, for_s=settings.gone_for_s),
            postpone=lambda token, due_in_s, message: leases.postpone(token, due_in_s=due_in_s, message=message),
            bury=burial.of_delivery,
            count=metrics.webhook,
        )
