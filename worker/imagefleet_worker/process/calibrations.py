"""Calibrations in Redis: what one worker measured and proved, for the next worker of the same kind."""

import redis
import structlog
from pydantic import ValidationError

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys
from imagefleet_worker.diffusion.calibration_record import CalibrationRecord

log = structlog.get_logger(__name__)

#: Seconds. Drivers are updated without a change of the device's name: after a month it is measured again.
_KEPT_S = 30 * 24 * 3600


class RedisCalibrations:
    """Calibration records under keys of their own. Without Redis, or without a readable record, a worker measures."""

    def __init__(self, client: "redis.Redis", *, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def load(self, fingerprint: str) -> CalibrationRecord | None:
        """The record of this fingerprint, if there is one."""
        try:
            found = self._client.get(self._keys.calibration(fingerprint))
            record = CalibrationRecord.model_validate_json(str(found)) if found else None
        except (redis.RedisError, ValidationError) as error:
            log.warning("calibration not read: it is made again", error=reason_of(error))
            return None
        if record:
            log.info("calibration known", fingerprint=fingerprint)
        return record

    def save(self, fingerprint: str, record: CalibrationRecord) -> None:
        """Keep *record* for a month."""
        try:
            self._client.set(self._keys.calibration(fingerprint), record.model_dump_json(), ex=_KEPT_S)
        except redis.RedisError as error:
            log.warning("calibration not kept: the next worker makes it again", error=reason_of(error))
