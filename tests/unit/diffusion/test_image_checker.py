"""A checker of one's own is heard, and no image passes unchecked."""

import pytest
from PIL import Image

from imagefleet.contract.jobs import GenerationJob, Webhook
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.diffusion.image_checker import ImageChecker, load_checker
from imagefleet_worker.errors import CheckerFailed
from imagefleet_worker.settings import ModelSettings

IMAGES = [Image.linear_gradient("L").convert("RGB") for _ in range(2)]


def job(prompt: str) -> GenerationJob:
    return GenerationJob(prompt=prompt, num_images=2, webhook=Webhook(url="https://example.com/secret"))


def load(name: str) -> ImageChecker:
    checker = load_checker(ModelSettings(checker=f"tests.support.checkers:{name}"))
    assert checker
    return checker


def test_what_it_flags_is_a_warning_for_that_image_with_its_labels() -> None:
    verdicts = load("by_prompt").check(IMAGES, job("a bad fox"))
    assert [verdict.flagged for verdict in verdicts] == [False, True]
    warning = verdicts[1].warning(1)
    assert (warning.code, warning.image) == ("image_flagged", 1)
    assert warning.detail == {"checker": "own", "labels": {"bad": 0.9}}
    assert not any(verdict.flagged for verdict in load("by_prompt").check(IMAGES, job("a fox")))


def test_it_cannot_change_the_images() -> None:
    before = IMAGES[0].tobytes()
    load("by_prompt").check(IMAGES, job("a fox"))
    assert IMAGES[0].tobytes() == before


def test_it_does_not_learn_the_webhook() -> None:
    seen: list[object] = []
    ImageChecker(lambda images, asked: [seen.append(asked), *({} for _ in images)][1:]).check(IMAGES, job("a fox"))
    assert seen == [{"version": 1, "prompt": "a fox", "num_images": 2}]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("failing", r"raised RuntimeError: no weights; mend the checker"),
        ("forgetful", r"said something of 1 images; there are 2"),
        ("wordy", r"must give .* for each image: score: there is no such field"),
    ],
)
def test_a_checker_that_fails_lets_no_image_through(name: str, sentence: str) -> None:
    with pytest.raises(CheckerFailed, match=sentence):
        load(name).check(IMAGES, job("a fox"))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("no_such_package:check", r"cannot be imported: ModuleNotFoundError.*install its package"),
        ("tests.support.checkers:missing", r"cannot be imported: AttributeError"),
        ("tests.support.checkers:NOTHING", r"is no function"),
    ],
)
def test_what_is_no_checker_is_refused_at_the_start(path: str, sentence: str) -> None:
    with pytest.raises(SettingsInvalid, match=sentence):
        load_checker(ModelSettings(checker=path))
    assert load_checker(ModelSettings()) is None
