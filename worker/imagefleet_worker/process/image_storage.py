"""The image storage: opened before torch is imported, so that a worker that cannot store images ends at once."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis

from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.lease_guard import LeaseGuard
from imagefleet_worker.jobs.render_counter import RenderCounter
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.storage_retries import StorageRetries
from imagefleet_worker.jobs.uploader import Uploader
from imagefleet_worker.settings import Settings
from imagefleet_worker.storage.bucket import Storage
from imagefleet_worker.storage.spool import Spool

_MEGABYTE: Final = 1_000_000


def open_storage(settings: Settings, client: "redis.Redis", *, on_room: Callable[[], None]) -> Uploader:
    """What stores the images of a worker, once its bucket has answered; *on_room* as for `Spool`.

    Raises:
        SettingsInvalid: If no bucket or no model is named, or the folder of the spool cannot be used.
        StorageRefused, StorageUnavailable: If the bucket cannot be written to.
    """
    if not settings.storage.bucket:
        raise SettingsInvalid("no bucket: set IMAGEFLEET_STORAGE_BUCKET")
    if not settings.model.source:
        raise SettingsInvalid("no model: set IMAGEFLEET_MODEL_SOURCE to a folder or a Hugging Face repository id")
    storage = Storage(settings.storage)
    storage.check()
    return build_uploader(settings, storage, client, on_room=on_room)


def build_uploader(
    settings: Settings, storage: Storage, client: "redis.Redis", *, on_room: Callable[[], None] = lambda: None
) -> Uploader:
    """What stores images in *storage*, as long as Redis knows of their leases. Raises SettingsInvalid as above."""
    keys, redis_ = Keys(settings.redis.key_prefix), RetryingRedis(client)
    folder = Path(settings.storage.spool_folder or Path(tempfile.gettempdir()) / f"imagefleet-spool-{os.getuid()}")
    try:
        spool = Spool(folder, most_bytes=round(settings.storage.spool_mb * _MEGABYTE), on_room=on_room)
    except OSError as error:
        raise SettingsInvalid(f"IMAGEFLEET_STORAGE_SPOOL_FOLDER: {reason_of(error)}; name another folder") from error
    return Uploader(
        storage,
        LeaseGuard(redis_, keys=keys, duration_s=settings.lease.duration_s),
        spool=spool,
        retries=StorageRetries(settings.worker),
        renders=RenderCounter(redis_, keys=keys),
    )
