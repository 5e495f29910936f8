from typing import Any

import pytest
import torch

from geofm.errors import ModelError
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig
from geofm.model.segmenter import Segmenter, build_segmenter

ENCODER: dict[str, Any] = {
    "bands": 3,
    "image_size": 24,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}


def segmenter(kind: str, *, classes: int = 3, **encoder: Any) -> Segmenter:
    head = HeadConfig(kind=kind, classes=classes, depths=(0, 1), channels=16)  # type: ignore[arg-type]
    return build_segmenter(EncoderConfig(**ENCODER | encoder), head).eval()


@pytest.mark.parametrize("kind", ["linear", "fcn"])
@pytest.mark.parametrize("classes", [2, 253])
@pytest.mark.parametrize(
    "shape", [{"patch_size": 8}, {"patch_size": 3}, {"patch_size": 1}, {"dates": 4, "tubelet": 2}]
)
@pytest.mark.parametrize("sides", [(1, 1), (3, 5)])
def test_every_pixel_gets_a_logit_a_class(
    kind: str, classes: int, shape: dict[str, int], sides: tuple[int, int]
) -> None:
    shape = {"image_size": 3 * shape.get("patch_size", 8)} | shape
    net = segmenter(kind, classes=classes, **shape)
    patch = net.encoder.config.patch_size
    height, width = sides[0] * patch, sides[1] * patch
    with torch.inference_mode():
        logits = net(torch.randn(2, net.encoder.config.dates, 3, height, width))
    assert logits.shape == (2, classes, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["linear", "fcn"])
@pytest.mark.parametrize(
    "shape",
    [{}, {"patch_size": 16, "image_size": 64, "embed_dim": 192, "num_heads": 3, "dates": 2}],
)
def test_a_sample_has_the_same_bits_in_any_slot_beside_any_others(
    shape: dict[str, int], kind: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    net = segmenter(kind, **shape)
    config = net.encoder.config
    side = config.image_size
    sample = torch.randn(config.dates, 3, side, side)
    for batch in (2, 3, 5):
        with torch.inference_mode():
            seen = [
                net(
                    torch.randn(batch, config.dates, 3, side, side).index_copy(
                        0, torch.tensor([slot]), sample[None]
                    )
                )[slot]
                for slot in range(batch)
            ]
        assert all(torch.equal(seen[0], other) for other in seen[1:]), batch


@pytest.mark.parametrize("kind", ["linear", "fcn"])
def test_forward_is_one_graph(kind: str) -> None:
    net = segmenter(kind)
    x = torch.randn(2, 1, 3, 24, 24)
    with torch.inference_mode():
        assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(x), net(x))


def test_fcn_draws_lines_of_one_pixel() -> None:
    net = segmenter("fcn", classes=2).train()
    x = torch.randn(4, 1, 3, 24, 24)
    target = (x[:, 0, 0] > x[:, 0, 1]).long()  # noise: no two neighbours alike
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), target).backward()
        optimiser.step()
    fresh = torch.randn(4, 1, 3, 24, 24)
    right = net(fresh).argmax(1) == (fresh[:, 0, 0] > fresh[:, 0, 1])
    assert right.float().mean() > 0.9


def test_fcn_starts_without_a_chequerboard() -> None:
    net = segmenter("fcn")
    with torch.no_grad():
        net.head.stem.weight.zero_()
        net.head.stem.bias.zero_()
        features = net.encoder.feature_maps(torch.randn(1, 1, 3, 24, 24), (0, 1))
        coarse = net.head.to_cells(torch.randn(1, 16, 3, 3))
    cells = torch.nn.functional.pixel_shuffle(coarse, 4)
    assert torch.equal(cells, cells[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3))
    assert len(features) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "1 classes; a map holds 2 to 253"),
        ({"classes": 254}, "254 classes; a map holds 2 to 253"),
        ({"depths": ()}, r"depths are \(\); name at least one block"),
        ({"depths": (1, 0)}, "depths are .* ascending"),
        ({"depths": (0, 0)}, "depths are .* ascending"),
        ({"depths": (-1,)}, "depths are .* from 0"),
        ({"depths": (2,)}, "head reads block 2; the encoder has blocks 0 to 1"),
        ({"channels": 10}, "channels is 10; it can be a multiple of 4"),
        ({"channels": 10**9}, "up to 4096"),
        ({"kind": "unet"}, "unknown head 'unet'; known: linear, fcn"),
    ],
)
def test_heads_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    head = {"kind": "fcn", "classes": 2, "depths": (0, 1), "channels": 16}
    with pytest.raises(ModelError, match=message):
        build_segmenter(EncoderConfig(**ENCODER), HeadConfig(**head | change))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 3, 24, 24), "has 2 dates; this model needs 1"),
        ((1, 1, 4, 24, 24), "has 4 bands; this encoder needs 3"),
        ((1, 1, 3, 24, 25), "24 x 25 px; this model needs multiples of 1 dates and 8 px"),
        ((0, 1, 3, 24, 24), "pad it"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        segmenter("fcn")(torch.zeros(shape))
