"""The check of what image files say of where they come from: the key and the certificate that sign them."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, ok, skipped, warning
from imagefleet_worker.storage.c2pa_key import CERTIFICATE_FILE, KEY_FILE
from imagefleet_worker.storage.c2pa_signer import open_signer

#: A certificate that ends sooner must be renewed now: workers read it only when they start.
_SOON: Final = timedelta(days=14)


def check_c2pa(context: CheckContext) -> CheckResult:
    """Whether the key and the certificate sign a test image that reads back as valid, and for how long they will.

    Raises:
        SettingsInvalid: where they do not.
    """
    settings = context.settings.provenance
    signer = open_signer(settings)
    if signer is None:
        return skipped(f"files are not signed: {KEY_FILE} is not set")
    key, now = signer.key, datetime.now(UTC)
    facts = {"subject": key.subject, "algorithm": key.algorithm, "ends": key.ends.isoformat()}
    if Path(settings.c2pa_key_file).stat().st_mode & stat.S_IROTH:
        return warning(
            f"every user may read {settings.c2pa_key_file}, and sign as {key.subject}: "
            f"chmod o-r {settings.c2pa_key_file}",
            **facts,
        )
    if key.ends - now < _SOON:
        return warning(
            f"{CERTIFICATE_FILE}: ends at {key.ends}, and then jobs fail: renew it, and start the workers again",
            **facts,
        )
    return ok(f"a test image is signed by {key.subject} ({key.algorithm}) until {key.ends}, and reads back", **facts)
