"""What people read of a field that is wrong."""

import pytest

from imagefleet import GenerationJob
from imagefleet.errors import InvalidJob


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seed": -1}, "seed: must be 0 or more; it is -1"),
        ({"priority": 10}, "priority: must be 9 or less; it is 10"),
        ({"seed": "-1"}, "seed: must be 0 or more; it is -1"),
        ({"steps": 2.5}, "steps: must be a whole number; it is 2.5"),
        ({"width": 13, "height": 64}, "width: must be a multiple of 8; it is 13"),
        ({"steps": "many"}, "steps: must be a whole number"),
        ({"guidance_scale": "high"}, "guidance_scale: must be a number"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": 7}, "prompt: must be text"),
        ({"presign": "perhaps"}, "presign: must be true or false"),
        ({"webhook": "secret"}, "webhook: must be an object"),
        ({"metadata": {"k": "\udcff"}}, "metadata: has half a character (a lone surrogate), which no text may have"),
        ({"metadata": {"\udcff": 1}}, "metadata: has half a character (a lone surrogate), which no text may have"),
        ({"stepz": 7}, "stepz: there is no such field; did you mean steps?"),
    ],
)
def test_the_sentence_says_what_the_field_must_be(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        GenerationJob.parse({"prompt": "a fox", **fields})
    assert caught.value.message == said


def test_a_prompt_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidJob, match=r"^prompt: is missing$"):
        GenerationJob.parse({})
