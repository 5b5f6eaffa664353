"""A job's copy of the pipeline leaves out the work whose answer is known, and does it where it is not."""

from diffusers.hooks import HookRegistry
from tests.support.models.engines import Engines

from imagefleet_worker.diffusion.private_copy import PrivateCopies


def test_a_prompt_stays_as_it_is_without_another_split_into_tokens(engines: Engines) -> None:
    pipe = engines.fresh("sd").pipe
    private = PrivateCopies(pipe).make(pipe.scheduler)
    prompts = ["a red fox", "", "a <cat>, \u00fcber 2\u00d72 \U0001f98a"]
    assert private.maybe_convert_prompt(prompts, None) == pipe.maybe_convert_prompt(prompts, pipe.tokenizer) == prompts


def test_a_word_of_several_vectors_is_written_out(engines: Engines) -> None:
    pipe = engines.fresh("sd").pipe
    pipe.tokenizer.add_tokens(["<cat>", "<cat>_1"])
    private = PrivateCopies(pipe).make(pipe.scheduler)
    assert private.maybe_convert_prompt("a <cat>", pipe.tokenizer) == "a <cat> <cat>_1"


def test_modules_are_freed_of_the_job_where_something_was_put_before_them(engines: Engines) -> None:
    pipe = engines.fresh("sd").pipe
    plain = PrivateCopies(pipe).make(pipe.scheduler)
    plain.maybe_free_model_hooks()
    assert not hasattr(pipe.unet, "_diffusers_hook"), "the walk through all modules enters a registry of hooks"
    HookRegistry.check_if_exists_or_initialize(pipe.unet)
    hooked = PrivateCopies(pipe).make(pipe.scheduler)
    assert type(hooked).maybe_free_model_hooks is type(pipe).maybe_free_model_hooks
