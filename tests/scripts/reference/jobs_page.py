"""docs/jobs.md: every field of a job."""

import json

from tests.scripts.reference import fields, markdown

from imagefleet import GenerationJob, JobLimits, Webhook

#: A value for each field that is not the default; together they make a job.
EXAMPLES: dict[str, object] = {
    "version": 1,
    "model": "sdxl",
    "prompt": "a lighthouse at dusk, oil on canvas",
    "negative_prompt": "blurry, text",
    "width": 1024,
    "height": 768,
    "steps": 28,
    "guidance_scale": 5.5,
    "scheduler": "EulerDiscreteScheduler",
    "scheduler_options": {"use_karras_sigmas": True},
    "seed": 1234,
    "num_images": 4,
    "format": "webp",
    "quality": 85,
    "priority": 7,
    "deadline": "2031-05-01T12:00:00+02:00",
    "group": "calendar-2031",
    "tenant": "acme",
    "presign": True,
    "embed": False,
    "preview_every": 5,
    "strict": True,
    "webhook": {"url": "https://hooks.example.com/images", "events": ["job.succeeded", "job.failed"]},
    "metadata": {"order": 4711},
}
_INTRO = """A job is a JSON object with these fields; only `prompt` is required. Python callers give them to
`Client.submit` as keyword arguments, as a mapping, or as a `GenerationJob`. A field that is not in the table is
refused. `imagefleet schema job` prints the JSON Schema.
"""
_ID = """The id is not part of the job: it is the id of the Celery task. `Client.submit(..., job_id="order-4711")`
chooses it. The same job submitted twice under one id is one job, with one result; it is the same if only `priority`,
`deadline`, `presign` and `preview_every` differ. Another job under a taken id is refused with
[`id_taken`](errors.md), also by the worker, and also after the record has expired, as long as the manifest is in the
bucket. An id has 1 to 128 letters, digits and `. _ : -`, and begins with a letter or digit.

Image i of a job is the one that `seed` + i makes alone. One prompt with six seeds, drawn by the demo's model:

![One scene six times: the boat and the sun are in other places](screens/seeds.webp)
"""
_LIMITS = """## Limits

The client checks a job before it is queued and the worker checks it again. The variables set the limits of workers,
of the command `imagefleet` and of `Client.from_env()`; other clients are given `limits=JobLimits(...)`. A worker may
also refuse what its model cannot do, such as
a negative prompt: the job then fails with [`invalid_job`](errors.md).
"""
_EXAMPLE = """## Example

Every field, with a value that is not its default:
"""


def make() -> str:
    """The page. The example is checked against the contract, so that no field is missing or wrong."""
    job = GenerationJob.parse(EXAMPLES)
    assert set(EXAMPLES) == set(GenerationJob.model_fields) == job.model_fields_set, "EXAMPLES needs every field"
    example = f"```json\n{json.dumps(EXAMPLES, indent=2)}\n```\n"
    parts = [_INTRO, _fields(), _ID, "## Webhook\n", _webhook(), _LIMITS, _limits(), _EXAMPLE, example]
    return markdown.page("Jobs", "`imagefleet.GenerationJob`", *parts)


def _fields() -> str:
    header = ("field", "type", "default", "allowed", "example", "meaning")
    return markdown.table(header, [_line(row, json.dumps(EXAMPLES[row.name])) for row in fields.rows(GenerationJob)])


def _line(row: fields.FieldRow, example: str) -> tuple[str, ...]:
    default = row.default if row.default == "required" else markdown.code(row.default)
    example = "see below" if row.name == "webhook" else markdown.code(example)
    return markdown.code(row.name), row.type, default, markdown.cell(row.limits), example, markdown.cell(row.meaning)


def _webhook() -> str:
    header = ("field", "type", "default", "allowed", "meaning")
    lines = [
        (markdown.code(row.name), row.type, _plain(row.default), markdown.cell(row.limits), markdown.cell(row.meaning))
        for row in fields.rows(Webhook)
    ]
    return markdown.table(header, lines)


def _plain(default: str) -> str:
    return default.replace(",", ", ")


def _limits() -> str:
    lines = [
        (markdown.code(row.name), markdown.code(f"IMAGEFLEET_LIMIT_{row.name.upper()}"), row.default, row.meaning)
        for row in fields.rows(JobLimits)
    ]
    return markdown.table(("limit", "variable", "default", "meaning"), lines)
