"""Blocks against timm's, and against themselves when only some tokens are asked for."""

from functools import partial

import pytest
import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from geofm.model.blocks import Blocks, vit_blocks
from geofm.model.patches import take_tokens


def blocks(depth: int = 3) -> Blocks:
    made = vit_blocks(16, depth=depth, num_heads=4, mlp_ratio=2.5, norm_eps=1e-5).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def pull(model: nn.Module, x: Tensor, *rest: Tensor | None) -> list[Tensor]:
    """The output, and the gradients of what enters and of every weight."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    out = model(x, *rest)
    out.square().sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def same(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_block_is_that_of_timm_with_its_names() -> None:
    ours = blocks(1)[0]
    norm = partial(nn.LayerNorm, eps=1e-5)
    timm = TimmBlock(16, 4, mlp_ratio=2.5, qkv_bias=True, norm_layer=norm).double()
    timm.load_state_dict(ours.state_dict())
    assert [*timm.state_dict()] == [*ours.state_dict()]
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    same(pull(ours, x), pull(timm, x))


def test_random_weights_are_drawn_as_timm_draws_them() -> None:
    torch.manual_seed(3)
    ours = vit_blocks(16, depth=2, num_heads=4, mlp_ratio=4.0, norm_eps=1e-5)
    torch.manual_seed(3)
    for block in ours:
        timm = TimmBlock(16, 4, mlp_ratio=4.0, qkv_bias=True).state_dict()
        assert all(torch.equal(timm[name], weight) for name, weight in block.state_dict().items())


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kept", [1, 4, 9])
def test_chosen_tokens_are_those_of_all(depth: int, kept: int) -> None:
    model = blocks(depth)
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    keep = torch.stack([torch.randperm(9)[:kept] for _ in range(3)])

    class TakenAfter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = model

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return take_tokens(x, keep)

    same(pull(model, x, keep), pull(TakenAfter(), x))


@pytest.mark.parametrize("keep", [None, torch.tensor([[0, 2], [4, 1]])])
def test_what_is_computed_again_is_the_same(keep: Tensor | None) -> None:
    model = blocks().train()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    kept = pull(model, x, keep)
    model.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(kept, pull(model, x, keep), strict=True))
