from typing import Any

import pytest
import torch

from geofm.errors import ModelError
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig
from geofm.model.losses import cross_entropy
from geofm.model.segmenter import Segmenter, build_segmenter

ENCODER: dict[str, Any] = {
    "bands": 3,
    "image_size": 24,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}


LARGER = {"patch_size": 16, "image_size": 64, "embed_dim": 192, "num_heads": 3, "dates": 2}


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


@pytest.mark.parametrize("kind", ["linear", "fcn"])
@pytest.mark.parametrize(("threads", "shape"), [(1, {}), (1, LARGER), (2, LARGER)])
def test_a_sample_has_the_same_bits_in_any_slot_beside_any_others(
    shape: dict[str, int], kind: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    net = segmenter(kind, **shape)
    config = net.encoder.config
    side = config.image_size
    sample = torch.randn(config.dates, 3, side, side)
    for batch in (2, 5):
        seen = []
        for slot in range(batch):
            x = torch.randn(batch, config.dates, 3, side, side)
            x[slot] = sample
            with torch.inference_mode():
                seen.append(net(x)[slot])
        assert all(torch.equal(seen[0], other) for other in seen[1:]), batch


def test_forward_is_one_graph_at_any_size() -> None:
    net = segmenter("fcn")
    x = torch.randn(2, 1, 3, 16, 40)
    with torch.inference_mode():
        assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(x), net(x))


def test_fcn_draws_single_pixels() -> None:
    encoder = EncoderConfig(**ENCODER | {"depth": 1})
    net = build_segmenter(encoder, HeadConfig(classes=2, depths=(0,)))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(100):
        x = torch.randn(4, 1, 3, 24, 24)  # noise: no two neighbours alike
        above = x[:, 0, 0] > x[:, 0, 1]
        logits = net(x)
        optimiser.zero_grad()
        cross_entropy(logits, above).backward()
        optimiser.step()
    assert (logits.argmax(1) == above).float().mean() > 0.93


def test_fcn_starts_without_a_chequerboard() -> None:
    head = segmenter("fcn").head
    with torch.inference_mode():
        cells = torch.nn.functional.pixel_shuffle(head.to_cells(torch.randn(1, 16, 3, 3)), 4)
    flat = cells[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(cells, flat)


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
        ({"channels": 0}, "channels is 0; it can be 1 to 4096"),
        ({"channels": 10**9}, "channels is 1000000000; it can be 1 to 4096"),
        ({"kind": "deeplab"}, "unknown head 'deeplab'; known: linear, fcn, unet"),
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
