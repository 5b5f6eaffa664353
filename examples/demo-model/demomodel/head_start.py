"""First weights with which the VAE makes a picture small and large again: training adds the detail.

Three colors are carried through all layers: each has the first channels of a group of its own, as [a, -a, constant].
The constant makes the group's variance, so that its norm hardly depends on the picture; and since
silu(a) - silu(-a) = a, what follows a norm can be linear.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

_CONSTANT: Final = 4.0
_COLORS: Final = 3
#: Of the norms.
GROUPS: Final = 8
#: The latents of a color, for colors from -1 to 1.
SCALE: Final = 1.5


def start_as_resize(vae: Any) -> None:
    """Set the weights of *vae*, an `AutoencoderKL`, in place."""
    with torch.no_grad():
        for name, module in vae.named_modules():
            if name.endswith((".conv2", ".to_out.0")):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
            elif name.endswith(".conv_shortcut"):
                _carry(module, module.weight[:, :, :1, :1], 1.0)
            elif "downsamplers" in name and name.endswith(".conv"):
                _carry(module, module.weight[:, :, :2, :2], 0.25)
            elif "upsamplers" in name and name.endswith(".conv"):
                _carry(module, module.weight[:, :, 1:2, 1:2], 1.0)
        for coder, gain in ((vae.encoder, 1.0), (vae.decoder, 1 / SCALE)):
            _enter(coder.conv_in, gain)
        for coder, gain in ((vae.encoder, SCALE), (vae.decoder, 1.0)):
            _leave(coder.conv_norm_out, coder.conv_out, gain)
        for conv in (vae.quant_conv, vae.post_quant_conv):
            nn.init.dirac_(conv.weight)
            nn.init.zeros_(conv.bias)


def _carry(conv: nn.Conv2d, taps: Tensor, gain: float) -> None:
    """Let *conv* hand on what the groups carry; *taps* is a view of those of its weights that do so."""
    wide, narrow = conv.out_channels // GROUPS, conv.in_channels // GROUPS
    conv.weight[: _COLORS * wide] = 0
    conv.bias[: _COLORS * wide] = 0
    for color in range(_COLORS):
        for place in range(3):
            taps[color * wide + place, color * narrow + place] = gain


def _enter(conv: nn.Conv2d, gain: float) -> None:
    wide = conv.out_channels // GROUPS
    conv.weight[: _COLORS * wide] = 0
    conv.bias[: _COLORS * wide] = 0
    for color in range(_COLORS):
        conv.weight[color * wide, color, 1, 1] = gain
        conv.weight[color * wide + 1, color, 1, 1] = -gain
        conv.bias[color * wide + 2] = _CONSTANT


def _leave(norm: nn.GroupNorm, conv: nn.Conv2d, gain: float) -> None:
    size = norm.num_channels // GROUPS
    spread = _CONSTANT * (size - 1) ** 0.5 / size
    conv.weight[:_COLORS] = 0
    conv.bias[:_COLORS] = 0
    for color in range(_COLORS):
        first = color * size
        norm.bias[first : first + 2] = _CONSTANT / size / spread
        conv.weight[color, first, 1, 1] = gain * spread
        conv.weight[color, first + 1, 1, 1] = -gain * spread
