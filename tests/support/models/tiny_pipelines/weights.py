"""Random weights under which the text matters: in some small networks it would be lost on its way to the image."""

import re
from typing import TypeVar

import torch

Module = TypeVar("Module", bound=torch.nn.Module)

# The linear layers that turn the time into scales and gates of a block's branches, under their many names.
_MODULATION = re.compile(r"((norm\w*|mod\w*|\w*_modulation\w*)\.(linear|lin|1)|\w*adaln\w*)\.(weight|bias)$")
_ATTENTION_NORM = re.compile(r"norm_(added_)?[qk]\.weight$")


def stirred(module: Module) -> Module:
    """*module*, with small random numbers in each matrix that holds only zeros."""
    for parameter in module.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return module


@torch.no_grad()
def responsive(module: Module) -> Module:
    """*module*, with branches that are let through, and attention that picks single words.

    With a network's first weights, gates let a twentieth through, and attention takes the mean of all words: a few
    words of 512 would change nothing.
    """
    for name, parameter in stirred(module).named_parameters():
        if _MODULATION.search(name) or name.endswith("scale_shift_table"):
            parameter.mul_(16)
        elif _ATTENTION_NORM.search(name):
            parameter.mul_(4)
    return module
