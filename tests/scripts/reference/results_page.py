"""docs/results.md: the result of a job, its parts, and every status."""

import inspect
import json
from datetime import UTC, datetime

from pydantic import BaseModel
from tests.scripts.reference import fields, markdown
from tests.scripts.reference.attributes import attributes

from imagefleet import Artifact, JobError, JobResult, JobStatus, JobWarning, Timings, WarningCode

_INTRO = """`Client.result` waits for a result, `Client.as_completed` and `Client.map` yield results, a webhook
carries one in `data`, and Celery's `get` returns one as a dictionary. It never holds the bytes of an image.
`imagefleet schema result` prints the JSON Schema. A newer worker may add fields: ignore those that you do not know.
"""
_STATUS = """## Status

A job has one of these; the last four are final. `JobStatus.is_final` tells.
"""
_WARNINGS = """A job that succeeds may still have `warnings`: the image is there, and something about it is not as
the job asked. `imagefleet submit --wait`, `status` and `result` show them, and the contact sheet of `--out` has their
codes below the image; `imagefleet workers` and `top` count them; a webhook has them in `data.warnings`.

A job that says `"strict": true` has no such images, but for warnings that make no difference to it: it is refused
before the device is used if the worker knows by then, or fails with [`not_as_asked`](errors.md). Its result has the
warnings that ended it.

![A contact sheet of four images, three with the code of a warning below](screens/warnings.webp)

`python -m tests.scripts.record_pictures warnings` makes this picture. For a long prompt, the model of `imagefleet up`
and `imagefleet submit PROMPT --wait --json` printed these warnings:
"""
_RAISE = """`result.raise_for_status()` returns the result if the job succeeded, and raises `JobFailed` otherwise.
The manifest `result.json`, which a worker writes beside the images, holds the same object.
The key of an image is `<prefix>/<job id>/<index>-<attempt>.<format>`: no two attempts at a job write to one key.
"""
_LINKS = """## Links

`uri` lasts as long as the image; a link does not. A job that says `"presign": true` gets one in each `url`, signed when
the images were uploaded, and `url_expires_at` says when it ends. Sign a new one when somebody wants to see the image:

```py
url = client.url(result.artifacts[0], expires_s=600)
```

```sh
imagefleet url order-4711                 # a link for each image of the job; --valid-for 10m, --json
imagefleet url s3://images/images/order-4711/0-5d1f0a7c93be.png
```

Both sign where they run: with boto3 (`pip install 'imagefleet[s3]'`), with credentials that may read the bucket
(`s3:GetObject`) where boto3 looks for them, and with the `IMAGEFLEET_STORAGE_*` variables of the workers, of which
[settings.md](settings.md#client) names those that count. A sentence says what is missing (`link_not_signed`).
`IMAGEFLEET_STORAGE_PUBLIC_URL` is the host of links, if those who follow them reach another than the workers.
`imagefleet-worker doctor` follows one. Links in webhooks are [signed again at each
try](webhooks.md#what-a-receiver-gets).
"""


#: Copied from a terminal.
_PRINTED = JobWarning(
    code=WarningCode.PROMPT_TRUNCATED,
    field="prompt",
    message="prompt: text_encoder (CLIPTextModel) reads 48 tokens; it did not read 'and a small red boat'",
    detail={
        "encoder": "text_encoder",
        "encoder_class": "CLIPTextModel",
        "limit": 48,
        "cut_tokens": 5,
        "cut_at": 204,
        "cut": "and a small red boat",
    },
)


def example() -> JobResult:
    """A result with every part."""
    artifact = Artifact(
        uri="s3://images/images/order-4711/0-5d1f0a7c93be.png",
        media_type="image/png",
        format="png",
        width=1024,
        height=1024,
        seed=1234,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        size_bytes=1_482_031,
    )
    warning = JobWarning(
        code=WarningCode.PROMPT_TRUNCATED,
        field="prompt",
        message="prompt: text_encoder (CLIPTextModel) reads 77 tokens; it did not read 'and a small red boat'",
        detail={
            "encoder": "text_encoder",
            "encoder_class": "CLIPTextModel",
            "limit": 77,
            "cut_tokens": 5,
            "cut_at": 392,
            "cut": "and a small red boat",
        },
    )
    return JobResult(
        id="order-4711",
        status=JobStatus.SUCCEEDED,
        artifacts=(artifact,),
        warnings=(warning,),
        timings=Timings(queued_s=0.21, generate_s=3.4, denoise_s=3.1, decode_s=0.2, encode_s=0.06, upload_s=0.04),
        attempts=1,
        worker="gpu0@host",
        device="NVIDIA L4",
        model="sdxl",
        model_revision="0123456789abcdef0123456789abcdef01234567",
        finished_at=datetime(2031, 5, 1, 10, 0, tzinfo=UTC),
        metadata={"order": 4711},
    )


def make() -> str:
    """The page."""
    shown = f"## Example\n\n```json\n{json.dumps(example().model_dump(mode='json'), indent=2)}\n```\n"
    parts = [
        _INTRO,
        model_table(JobResult),
        _RAISE,
        _STATUS,
        _statuses(),
        *(f"## {model.__name__}\n\n{model.__doc__}\n\n{model_table(model)}" for model in (Artifact, Timings)),
        _LINKS,
        f"## Warnings\n\n{_WARNINGS}",
        f"```json\n{json.dumps({'warnings': [_PRINTED.model_dump(mode='json')]})}\n```\n",
        model_table(JobWarning),
        "\n",
        _codes(),
        f"## JobError\n\n{JobError.__doc__} The codes are in [errors.md](errors.md).\n\n{model_table(JobError)}",
        shown,
    ]
    return markdown.page("Results", "`imagefleet.JobResult`", *parts)


def model_table(model: type[BaseModel]) -> str:
    """The fields of *model* as a reader gets them."""
    lines = [
        (markdown.code(row.name), row.type, _values(row), markdown.cell(row.meaning))
        for row in fields.rows(model, "serialization")
    ]
    return markdown.table(("field", "type", "values", "meaning"), lines)


def _values(row: fields.FieldRow) -> str:
    return row.limits if row.type in {"one of", "constant"} or row.type.startswith("list of one") else ""


def _statuses() -> str:
    lines = [
        (markdown.code(each.name), "yes" if JobStatus(each.name).is_final else "no", markdown.cell(each.meaning))
        for each in attributes(JobStatus)
        if each.name in set(JobStatus)
    ]
    return markdown.table(("status", "final", "meaning"), lines)


def _codes() -> str:
    lines: list[tuple[str, ...]] = []
    for each in attributes(WarningCode):
        cause, has_strict, rest = inspect.cleandoc(each.meaning).partition("\nStrict:")
        strict, has_remedy, remedy = rest.partition("\nRemedy:")
        assert has_strict, f"{each.name}: the docstring needs a line that begins with `Strict:`"
        assert has_remedy, f"{each.name}: the docstring needs a line that begins with `Remedy:`, after `Strict:`"
        lines.append((markdown.code(each.name), *map(markdown.cell, (cause, strict, remedy))))
    return markdown.table(("code", "cause", "a strict job", "what to do"), lines)
