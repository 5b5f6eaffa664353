"""What a signed C2PA manifest adds to an image file: bytes, and time in the job's thread.

    python -m tests.benchmarks.provenance [--size 1024] [--rounds 20]

The image is noise, which no format makes small. Times are medians: `sign_ms` by the clock, and `sign_cpu_ms` of the
processor, which other work on the machine changes less. Last line: one JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image
from tests.support.c2pa_authority import Authority

from imagefleet.contract.jobs import ImageFormat
from imagefleet_worker.settings import EncodingSettings, ProvenanceSettings
from imagefleet_worker.storage.image_files import EncodedImage, encode_image
from imagefleet_worker.storage.provenance import Provenance, open_provenance


def main() -> None:
    """Encode with and without a signer, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="pixels of each side")
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        signed = open_provenance(ProvenanceSettings(**Authority().write(Path(folder))))
    side = given.size
    image = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3))
    found: dict[str, object] = {"size": side}
    for kind in ImageFormat:
        plain = _encoded(image, kind, Provenance())
        assert signed.signer
        times: list[float] = []
        cpu_times: list[float] = []
        for _ in range(given.rounds):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            data = signed.signer.sign(plain.data, kind)
            times.append(time.perf_counter() - begin)
            cpu_times.append(time.process_time() - cpu_begin)
        found[kind.value] = {
            "bytes": len(plain.data),
            "added_bytes": len(data) - len(plain.data),
            "sign_ms": round(1000 * statistics.median(times), 2),
            "sign_cpu_ms": round(1000 * statistics.median(cpu_times), 2),
        }
    print(json.dumps(found))


def _encoded(image: Image.Image, kind: ImageFormat, provenance: Provenance) -> EncodedImage:
    return encode_image(
        image,
        format=kind,
        quality=None,
        seed=1,
        parameters={},
        settings=EncodingSettings(),
        provenance=provenance,
    )


if __name__ == "__main__":
    main()
