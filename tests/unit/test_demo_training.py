"""The loop that trains the demo's model: a run that was stopped goes on as if it had not been."""

from pathlib import Path

import pytest
import torch
from tests.support.models.scene_checker import prompt_for
from torch import Tensor, nn

from demomodel import captions
from demomodel.scenes import Scene, all_scenes
from demomodel.training import Plan, train
from demomodel.words import merges_for, tokenizer

PLAN = Plan(steps=600, cool_down=200, rate=1e-2)


class Stopped(Exception):
    """The machine went away."""


def trained(folder: Path, *, stop_at: int | None = None) -> Tensor:
    torch.manual_seed(0)
    module = nn.Linear(3, 3)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        if step == stop_at:
            raise Stopped
        wanted = torch.randn(4, 3, generator=generator)
        return (module(wanted) - wanted).square().mean()

    train("part", {"part": module}, loss, PLAN, folder)
    return module.weight.detach()


def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = trained(tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(tmp_path, stop_at=420)
    assert torch.equal(trained(tmp_path), whole)
    assert (whole - torch.eye(3)).abs().max() < 0.05


def test_a_finished_part_is_not_trained_again(tmp_path: Path) -> None:
    first = trained(tmp_path)
    assert torch.equal(trained(tmp_path, stop_at=PLAN.steps - 1), first)


def test_each_known_word_is_one_token_and_an_unknown_one_its_letters() -> None:
    words = tokenizer(captions.vocabulary())
    assert all(words.tokenize(word) == [f"{word}</w>"] for word in captions.vocabulary())
    assert words.tokenize("A Blue xyz") == ["a</w>", "blue</w>", "x", "y", "z</w>"]


def test_merges_of_later_words_leave_earlier_ones_whole() -> None:
    merges = merges_for(["on", "balloon", "one", "boat", "oat"])
    assert len(set(merges)) == len(merges)
    words = tokenizer(["on", "balloon", "one", "boat", "oat"])
    assert [len(words.tokenize(word)) for word in ("on", "balloon", "one", "boat", "oat")] == [1] * 5


def test_plain_prompts_differ_for_all_scenes_and_read_as_english() -> None:
    assert len({prompt_for(scene) for scene in all_scenes()}) == 8 * 7 * 4 * 3
    assert prompt_for(Scene("boat", "orange", "sea", "dusk")) == "an orange boat on the sea at dusk"
