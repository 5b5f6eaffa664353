"""The image checker: a function of the operator's own that looks at finished images, in the job's thread."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob, to_wire
from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet.errors import SettingsInvalid, described
from imagefleet_worker.errors import CheckerFailed
from imagefleet_worker.settings import ModelSettings

#: What a checker does not need to know of a job; the webhook's URL may be a secret.
_SECRET = frozenset({"webhook"})
_VARIABLE = "IMAGEFLEET_MODEL_CHECKER"

CheckFunction = Callable[[Sequence[Image.Image], Mapping[str, Any]], Any]


class Verdict(BaseModel):
    """What a checker says of one image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flagged: bool = False
    labels: dict[str, JsonValue] = Field(default_factory=dict)

    def warning(self, index: int) -> JobWarning:
        """That image *index* is flagged."""
        return JobWarning(
            code=WarningCode.IMAGE_FLAGGED,
            image=index,
            message=f"image {index}: the checker of this fleet has flagged it",
            detail={"checker": "own", "labels": self.labels},
        )


class ImageChecker:
    """Asks *function* about the images of each job; as safe to use from many threads as *function* is."""

    def __init__(self, function: CheckFunction) -> None:
        self._function = function

    def check(self, images: Sequence[Image.Image], job: GenerationJob) -> list[Verdict]:
        """What it says of each of *images*, of which it gets copies.

        Raises:
            CheckerFailed: if it raises an error, or says something else.
        """
        asked = {name: value for name, value in to_wire(job).items() if name not in _SECRET}
        try:
            said = list(self._function([image.copy() for image in images], asked))
            verdicts = [Verdict.model_validate(each) for each in said]
        except ValidationError as error:
            raise CheckerFailed(
                f"{_VARIABLE} must give {{'flagged': bool, 'labels': {{...}}}} for each image: "
                f"{describe_validation_error(error)}; mend the checker"
            ) from error
        except Exception as error:
            raise CheckerFailed(f"{_VARIABLE} raised {described(error)}; mend the checker") from error
        if len(verdicts) != len(images):
            raise CheckerFailed(
                f"{_VARIABLE} said something of {len(verdicts)} images; there are {len(images)}: mend the checker"
            )
        return verdicts


def load_checker(settings: ModelSettings) -> ImageChecker | None:
    """The checker that *settings* name, as `package.module:function`; None if they name none.

    Raises:
        SettingsInvalid: if it cannot be imported, or is no function.
    """
    if not settings.checker:
        return None
    module, _, name = settings.checker.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise SettingsInvalid(
            f"{_VARIABLE}={settings.checker} cannot be imported: {described(error)}; "
            "install its package in the worker's environment"
        ) from error
    if not callable(function):
        raise SettingsInvalid(f"{_VARIABLE}={settings.checker} is no function; name one that takes images and the job")
    return ImageChecker(function)
