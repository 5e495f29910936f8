"""Low-rank adaptation: train a few numbers beside an encoder's weights, then merge them in.

Hu et al. 2021 (arXiv:2106.09685): a linear layer's weight W becomes W + s B A,
with B and A of a small rank. W stays as pretrained, so few labels cannot spoil
it; merged, the layer is a plain one again, and so is the model folder.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.encoder import Encoder

# What B A is multiplied with: rates that suit one rank then suit another.
_SCALE = 2.0


class LoraLinear(nn.Module):
    """A linear layer, kept as it is, with a low-rank change beside it that starts at 0.

    Attributes:
        linear: the layer.
        down: A, (rank, in).
        up: B, (out, rank).
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        change: Tensor = F.linear(F.linear(x, self.down), self.up)
        whole: Tensor = self.linear(x) + _SCALE * change
        return whole

    @property
    def weight(self) -> Tensor:
        """The whole weight, for attention that multiplies with a part of it."""
        return self.linear.weight + _SCALE * (self.up @ self.down)

    @property
    def bias(self) -> Tensor:
        """The layer's own: it is not adapted."""
        return self.linear.bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer with the change in its weight, added in float64 and rounded once."""
        change = self.up.double() @ self.down.double()
        self.linear.weight.copy_(self.linear.weight.double() + _SCALE * change)
        return self.linear


def add_lora(encoder: Encoder, *, rank: int) -> None:
    """Give every linear layer of an encoder's blocks a change of this rank, in place.

    Attention's (queries, keys, values; projection) and the MLP's two. The output
    stays the same until the change is trained.

    Raises:
        ModelError: the rank is no less than the width of a token.
    """
    width = encoder.config.embed_dim
    if not 1 <= rank < width:
        raise ModelError(
            f"lora is {rank}; needed 1 to {width - 1}, less than the encoder's {width} channels"
        )
    for block in encoder.blocks:
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear):
                _replace(block, name, LoraLinear(module, rank))


def lora_parameters(encoder: Encoder) -> list[nn.Parameter]:
    """The numbers that LoRA trains; none without it."""
    return [p for _, _, layer in _layers(encoder) for p in (layer.down, layer.up)]


def merge_lora(encoder: Encoder) -> None:
    """Merge every change into its layer, in place: a plain encoder again."""
    for parent, name, layer in list(_layers(encoder)):
        _replace(parent, name, layer.merged())


def _layers(encoder: Encoder) -> Iterator[tuple[nn.Module, str, LoraLinear]]:
    """Each adapted layer, with the block that holds it and its name there."""
    for block in encoder.blocks:
        for name, module in block.named_modules():
            if isinstance(module, LoraLinear):
                yield block, name, module


def _replace(parent: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one that ``parent`` holds under a dotted name."""
    path, _, last = name.rpartition(".")
    setattr(parent.get_submodule(path), last, module)
