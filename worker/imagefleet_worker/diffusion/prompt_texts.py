"""Prompt texts: which part of a prompt the text encoders did not read, and which prompt they were never given."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Final

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.observed_tokenizers import TokenizedText

#: Characters of what was cut, in a warning's sentence and in its details.
_SHOWN: Final = 60
_KEPT: Final = 500
_FIELDS: Final = ("prompt", "negative_prompt")


class PromptTexts:
    """Judges what the tokenizers of *pipe* made of the prompts of a job."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._limit = _limit_of_embeddings(pipe)

    def warnings(
        self, job: GenerationJob, seen: Sequence[TokenizedText], *, is_unguided: bool = False
    ) -> list[JobWarning]:
        """What was cut from the prompts of *job*, by each encoder, and a negative prompt that was not used.

        It was not used if nobody read it, or if the images were made without guidance (*is_unguided*).
        """
        found: list[JobWarning] = []
        whole = self._who_read_all(job, seen)
        for each in seen:
            warning = self._truncation(job, each, whole)
            if warning is not None and warning not in found:
                found.append(warning)
        if job.negative_prompt and job.negative_prompt.strip() and (is_unguided or _is_unread(job, seen)):
            found.append(
                JobWarning(
                    code=WarningCode.FIELD_WITHOUT_EFFECT,
                    field="negative_prompt",
                    message=f"negative_prompt: the pipeline does not use it with a guidance_scale of "
                    f"{job.guidance_scale}; ask for more than 1, or leave it out",
                    detail={"guidance_scale": job.guidance_scale},
                )
            )
        return found

    def _who_read_all(self, job: GenerationJob, seen: Sequence[TokenizedText]) -> dict[str, list[str]]:
        """The tokenizers that cut nothing of a field, by field; one may be called both with and without a limit."""
        cut: set[tuple[str | None, str]] = set()
        read: dict[tuple[str | None, str], None] = {}
        for each in seen:
            key = (_field_of(job, each.text), each.tokenizer)
            is_cut = each.encoding is None or _cut_of(each.encoding, self._limit)[0] is not None
            cut |= {key} if is_cut else set()
            read[key] = None
        whole = [key for key in read if key not in cut]
        return {name: [tokenizer for field, tokenizer in whole if field == name] for name in _FIELDS}

    def _truncation(self, job: GenerationJob, seen: TokenizedText, whole: dict[str, list[str]]) -> JobWarning | None:
        cut, tokens = _cut_of(seen.encoding, self._limit)
        if cut is None:
            return None
        field = _field_of(job, seen.text) or "prompt"
        lost, first = _lost(getattr(job, field) or "", seen.text, *cut)
        if not lost.strip():  # only of what the pipeline writes around a prompt
            return None
        encoder, kind = self._encoder(seen.tokenizer)
        limit = min(len(seen.encoding.ids), self._limit or len(seen.encoding.ids))
        shown = lost if len(lost) <= _SHOWN else lost[:_SHOWN] + "..."
        others = [self._encoder(tokenizer) for tokenizer in whole[field]]
        but = f", but {' and '.join(f'{name} ({of})' for name, of in others)} did" if others else ""
        return JobWarning(
            code=WarningCode.PROMPT_TRUNCATED,
            field=field,
            message=f"{field}: {encoder} ({kind}) reads {limit} tokens; it did not read {shown!r}{but}",
            detail={
                "encoder": encoder,
                "encoder_class": kind,
                "limit": limit,
                "cut_tokens": tokens,
                **({} if first is None else {"cut_at": first}),
                "cut": lost[:_KEPT],
                **({"read_by": [name for name, _ in others]} if others else {}),
            },
        )

    def _encoder(self, tokenizer: str) -> tuple[str, str]:
        """The name and the class of what reads the tokens of *tokenizer*."""
        name = tokenizer.replace("tokenizer", "text_encoder")
        encoder = getattr(self._pipe, name, None)
        return (tokenizer, type(self._pipe).__name__) if encoder is None else (name, type(encoder).__name__)


def _limit_of_embeddings(pipe: Any) -> int | None:
    """Tokens after which a pipeline cuts what its text encoder has read; None if it does not.

    Qwen-Image drops the embeddings of what it writes before a prompt, and keeps as many of the rest.
    """
    parameter = inspect.signature(type(pipe).__call__).parameters.get("max_sequence_length")
    dropped = getattr(pipe, "prompt_template_encode_start_idx", None)
    if parameter is None or not isinstance(parameter.default, int) or not isinstance(dropped, int):
        return None
    return parameter.default + dropped


def _cut_of(encoding: Any, limit: int | None) -> tuple[tuple[int, int] | None, int]:
    """Where in its text *encoding* was cut, as the first and last character, and the number of tokens behind."""
    if encoding is None:
        return None, 0
    kept = [span for span, mask in zip(encoding.offsets, encoding.attention_mask, strict=True) if mask]
    over = kept[limit:] if limit else []
    spans = [span for window in encoding.overflowing for span in window.offsets]
    spans = [(first, end) for first, end in (*over, *spans) if end > first]
    if not spans:
        return None, 0
    return (min(first for first, _ in spans), max(end for _, end in spans)), len(spans)


def _lost(prompt: str, text: str, first: int, end: int) -> tuple[str, int | None]:
    """What is missing of *prompt* if *text*, in which it is, was read without *first* to *end*; and where that begins.

    Some pipelines write it in other letters or words; then it is what is missing of *text*, and nobody knows where.
    """
    core = prompt.strip()
    begin = text.rfind(core)
    if begin < 0:
        return text[first:end], None
    inside = max(first - begin, 0)
    return core[inside : max(end - begin, 0)], prompt.index(core) + inside


def _is_unread(job: GenerationJob, seen: Iterable[TokenizedText]) -> bool:
    """Whether each text that was read is the prompt, so that none can be the negative prompt."""
    fields = [_field_of(job, each.text) for each in seen if each.text.strip()]
    return bool(fields) and all(field == "prompt" for field in fields)


def _field_of(job: GenerationJob, text: str) -> str | None:
    """The field of *job* that is in *text*, the longer one of two; None if neither is, in other words or letters."""
    prompts = {"prompt": job.prompt, "negative_prompt": job.negative_prompt or ""}
    plain = _plain(text)
    found = {name: len(prompt) for name, prompt in prompts.items() if prompt.strip() and _plain(prompt) in plain}
    return max(found, key=lambda name: found[name]) if found else None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
