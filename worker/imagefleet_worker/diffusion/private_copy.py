"""The private copy: the pipeline of one job, which shares all modules with the others and has its own scheduler."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]  # lazy, and public all the same
from diffusers.loaders import TextualInversionLoaderMixin  # pyright: ignore[reportPrivateImportUsage]  # lazy

from imagefleet_worker.diffusion.module_view import has_hooks, views_of


class PrivateCopies:
    """Makes copies of *pipe*, whose modules stay where they are from now on.

    Each has its own *guiders*, the parts with these names: they remember what the steps of a job gave so far.

    The copies have a class of their own, without the work that gives the same answer for each job: see `_answers`.
    """

    def __init__(self, pipe: Any, *, guiders: Sequence[str] = ()) -> None:
        self._pipe = pipe
        self._views = views_of(pipe)
        self._guiders = guiders
        kind = type(pipe)
        self._kind = type(kind.__name__, (kind,), _answers(pipe))
        self._kind.__module__ = kind.__module__

    def make(self, scheduler: Any) -> Any:
        """A copy for one job, with *scheduler*."""
        private = copy.copy(self._pipe)
        private.__class__ = self._kind
        vars(private).update(self._views)
        private.scheduler = scheduler
        for name in self._guiders:
            setattr(private, name, copy.deepcopy(getattr(private, name)))
        return private


def _answers(pipe: Any) -> dict[str, Any]:
    """Methods of *pipe* whose answer is known before any job, by name.

    Each of them walks through all modules, or splits each text into tokens once more, and no other job goes on
    meanwhile. The search for the device alone is a tenth of the time of a job of a small model.
    """
    device = pipe._execution_device  # noqa: SLF001  # diffusers has no public name for it
    answers: dict[str, Any] = {"_execution_device": property(lambda _pipe: device)}
    if _has(pipe, DiffusionPipeline, "maybe_free_model_hooks") and not _has_hooks(pipe):
        answers["maybe_free_model_hooks"] = _no_hooks
    if _has(pipe, TextualInversionLoaderMixin, "maybe_convert_prompt") and not _has_tokens_of_several_vectors(pipe):
        answers["maybe_convert_prompt"] = _same_prompt
    return answers


def _no_hooks(_pipe: Any) -> None:
    """Free no model: nothing moves the modules, and they keep nothing of the job."""


def _same_prompt(_pipe: Any, prompt: Any, _tokenizer: Any = None) -> Any:
    """*prompt*: no word of it stands for several others."""
    return prompt


def _has(pipe: Any, owner: type[Any], name: str) -> bool:
    """Whether the method *name* of *pipe* is the one of *owner*."""
    return getattr(type(pipe), name, None) is getattr(owner, name)


def _has_hooks(pipe: Any) -> bool:
    modules = (part for part in pipe.components.values() if isinstance(part, torch.nn.Module))
    return bool(getattr(pipe, "_all_hooks", None)) or any(has_hooks(module) for module in modules)


def _has_tokens_of_several_vectors(pipe: Any) -> bool:
    """Whether a textual inversion of more than one vector has been loaded: its tokens are NAME, NAME_1, NAME_2, ..."""
    added = [getattr(part, "added_tokens_encoder", None) or {} for part in pipe.components.values()]
    return any(f"{token}_1" in tokens for tokens in added for token in tokens)
