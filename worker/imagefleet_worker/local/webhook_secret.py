"""The secret that signs the webhooks of a fleet on one machine: the user's own, or one that is made once and kept."""

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "IMAGEFLEET_WEBHOOK_SECRETS"
_BYTES: Final = 24


def secrets_for(folder: Path, environ: Mapping[str, str]) -> str:
    """What *environ* sets, or the secret in *folder*, which is made there if necessary."""
    if given := environ.get(VARIABLE):
        return given
    path = folder / "webhook-secret"
    if path.exists():
        return path.read_text().strip()
    folder.mkdir(parents=True, exist_ok=True)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    # For its owner only: whoever knows it can forge events.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    return secret
