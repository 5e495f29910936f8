"""LoRA: nothing changes at first, only its own numbers learn, and merged it is a plain encoder."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.lora import add_lora, lora_parameters, merge_lora

CONFIG = EncoderConfig(bands=3, image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)


def encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(CONFIG).eval()


def image() -> torch.Tensor:
    return torch.randn(2, 1, 3, 16, 16)


def test_it_changes_nothing_at_first() -> None:
    net, x = encoder(), image()
    before = net(x)
    add_lora(net, rank=4)
    assert net(x).equal(before)


@given(rank=st.integers(1, 31), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_merged_is_unmerged_and_the_folder_is_plain(rank: int, seed: int) -> None:
    net, x = encoder(seed), image()
    names, plain = list(net.state_dict()), net(x)
    add_lora(net, rank=rank)
    with torch.no_grad():
        for parameter in lora_parameters(net):
            parameter.normal_(std=0.05)
    unmerged = net(x)
    assert not torch.allclose(unmerged, plain, atol=1e-3)
    merge_lora(net)
    torch.testing.assert_close(net(x), unmerged, rtol=1e-5, atol=1e-5)
    assert list(net.state_dict()) == names
    assert not lora_parameters(net)


def test_every_linear_layer_of_a_block_learns_and_nothing_else_does() -> None:
    net, x = encoder(), image()
    wanted = torch.randn(2, 17, 32)
    add_lora(net, rank=4)
    net.requires_grad_(False)
    learning = lora_parameters(net)
    for parameter in learning:
        parameter.requires_grad_(True)
    assert len(learning) == 2 * 4 * CONFIG.depth  # qkv, proj, fc1, fc2 of each block
    optimiser = torch.optim.SGD(learning, lr=0.1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for _ in range(2):  # the first step moves up alone: down has no slope while up is 0
        optimiser.zero_grad()
        (net(x) - wanted).square().mean().backward()
        optimiser.step()
    moved = {name for name, tensor in net.state_dict().items() if not tensor.equal(before[name])}
    assert moved == {name for name in before if name.endswith((".down", ".up"))}


@pytest.mark.parametrize("rank", [0, -1, 32])
def test_a_rank_beyond_the_layers_is_refused(rank: int) -> None:
    with pytest.raises(ModelError, match=f"lora is {rank}; needed 1 to 31"):
        add_lora(encoder(), rank=rank)
