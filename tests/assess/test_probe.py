"""Linear probes: what they read, what they may see, and that they find what is there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from affine import Affine

from geofm.assess.probe import (
    Labelled,
    _at_pixels,
    draw_pairs,
    probe,
    probe_by_area,
    probe_curve,
    random_weights,
    read_labelled,
    token_maps,
)
from geofm.contract import PixelContract
from geofm.errors import BandError, ConfigError, LabelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder
from geofm.scenes.catalog import Pair
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window
from geofm.tasks import IGNORE, SHARED_BANDS
from geofm.tiles.area import Area, footprint
from geofm.tiles.roles import split_pairs

CONTRACT = PixelContract(SHARED_BANDS, "surface", (0.15,) * 6, (0.05,) * 6, 10.0)


class Codes:
    """Labels of an array."""

    def __init__(self, codes):
        self.codes = codes

    def read(self, window=None):
        return self.codes if window is None else self.codes[window.slices]


def pretrained(**options) -> PretrainedEncoder:
    shape = {
        "bands": 6, "image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2
    }  # fmt: skip
    config = EncoderConfig(**shape | options)
    contract = replace(CONTRACT, dates=config.dates)
    net = random_weights(Encoder(config), seed=0)
    return PretrainedEncoder(encoder=net, contract=contract, name="probed", provenance={})


@pytest.fixture
def bright_pairs(make_scene):
    """Make pairs whose labels say where near infrared is bright; one a group."""

    def build(count, *, groups=None, apart=0, **options):
        pairs, level = [], 0.0
        for i in range(count):
            transform = Affine(10, 0, 330000 + apart * i, 0, -10, 5822040)
            scene = open_scene(make_scene(f"{i}.tif", seed=i, transform=transform, **options))
            pixels = scene.read()
            near_infrared = pixels.values[0, 3]
            level = level or np.median(near_infrared[pixels.valid[0]])
            codes = (near_infrared > level).astype(np.uint8)
            group = f"place {i if groups is None else i % groups}"
            pairs.append(Pair(scene, Codes(codes), f"scene {i}", group=group))
        return pairs

    return build


@pytest.fixture
def few_pixels(monkeypatch):
    """Teach on 100 pixels: fits are what takes long, and here it is not they that are tested."""
    monkeypatch.setattr("geofm.assess.probe.MOST_PIXELS", 100)


@pytest.mark.parametrize(("height", "width"), [(61, 83), (20, 25), (32, 32), (33, 64)])
def test_every_labelled_pixel_is_read_once(make_scene, height, width) -> None:
    scene = open_scene(make_scene(height=height, width=width))
    codes = np.arange(height * width).reshape(height, width) % 250
    found = read_labelled([Pair(scene, Codes(codes.astype(np.uint8)), "one")], CONTRACT, size=32)
    valid = scene.read().valid[0]
    seen = found.target[found.target != IGNORE].numpy()
    np.testing.assert_array_equal(np.sort(seen), np.sort(codes[valid]))
    # And each with its own pixel beside it.
    for x, target in zip(found.x, found.target, strict=True):
        rows, cols = np.nonzero(target.numpy() != IGNORE)
        assert x[..., rows, cols].any(dim=1).all()


def test_nothing_outside_the_windows_is_read(make_scene) -> None:
    scene = open_scene(make_scene(height=80, width=80, nodata_corner=False))
    codes = np.zeros((80, 80), np.uint8)
    codes[:40, :40] = 1
    pair = Pair(scene, Codes(codes), "one")
    found = read_labelled(
        [pair], CONTRACT, size=32, windows=[[Window(0, 0, 40, 40), Window(40, 40, 20, 20)]]
    )
    counts = np.bincount(found.target.numpy().ravel(), minlength=256)
    assert (counts[1], counts[0]) == (1600, 400)
    assert len(set(found.unit)) == 2  # one group: the windows are what is drawn anew


def test_resized_logits_are_logits_of_resized_features() -> None:
    """So that a probe may be taught on features and read logits of tokens."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 3, 32, 32, generator=draw)
    maps = torch.randn(2, 5, 4, 4, generator=draw)
    row, col = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for image in range(2):
        at = torch.full((1024,), image)
        features = _at_pixels(x, maps, at, row.flatten(), col.flatten(), bands=True)
        wanted = F.interpolate(maps[image][None], (32, 32), mode="bilinear")[0]
        torch.testing.assert_close(features[:, :5].T.reshape(5, 32, 32), wanted)
        torch.testing.assert_close(features[:, 5:].T.reshape(3, 32, 32), x[image, 0])


def test_raw_bands_find_what_a_band_tells(bright_pairs) -> None:
    pairs = bright_pairs(14)
    taught = read_labelled(pairs[:3], CONTRACT, size=32)
    scored = read_labelled(pairs[3:], CONTRACT, size=32)
    score = probe(taught, None, scored, None, classes=2, inputs="bands", count=3)
    assert score.mean_iou > 0.9
    assert score.confusion.shape == (11, 2, 2)
    assert score.confusion.sum() == (scored.target != IGNORE).sum()


def test_tokens_tell_what_bands_cannot(bright_pairs) -> None:
    """A class that is a place in the image: only what knows places can read it."""
    pairs = bright_pairs(4, height=32, width=32, nodata_corner=False)
    taught = read_labelled(pairs, CONTRACT, size=32)
    taught.target[:, :, :16], taught.target[:, :, 16:] = 0, 1
    # Four tokens across: what they say of their place is all that tells the halves apart.
    maps = torch.randn(len(taught.x), 8, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[:, 3] = torch.arange(4.0)
    reached = {
        inputs: probe(taught, maps, taught, maps, classes=2, inputs=inputs).mean_iou
        for inputs in ("tokens", "tokens and bands", "bands")
    }
    assert reached["tokens"] > 0.9
    assert reached["tokens and bands"] > 0.9
    assert reached["bands"] < 0.6


def test_the_test_pairs_choose_nothing(bright_pairs) -> None:
    pairs = bright_pairs(6)
    taught = read_labelled(pairs[:3], CONTRACT, size=32)
    scored = read_labelled(pairs[3:], CONTRACT, size=32)
    score = probe(taught, None, scored, None, classes=2, inputs="bands")
    flipped = scored._replace(target=torch.where(scored.target < 2, 1 - scored.target, 255).byte())
    other = probe(taught, None, flipped, None, classes=2, inputs="bands")
    assert other.strength == score.strength
    np.testing.assert_array_equal(other.confusion[:, ::-1], score.confusion)


def labelled(targets, pairs=None) -> Labelled:
    target = torch.tensor(targets, dtype=torch.uint8)[:, None, None].expand(-1, 4, 4)
    owner = np.arange(len(targets)) if pairs is None else np.array(pairs)
    names = tuple(map(str, range(owner.max() + 1)))
    return Labelled(
        torch.zeros(len(targets), 1, 2, 4, 4), target, owner, np.array(names)[owner], names
    )


def test_a_draw_shows_two_classes() -> None:
    mostly = labelled([0, 0, 0, 0, 0, 0, 1, IGNORE])
    for seed in range(20):
        assert 6 in draw_pairs(mostly, count=2, seed=seed, classes=2)
        assert len(draw_pairs(mostly, count=3, seed=seed, classes=2)) == 3
    assert draw_pairs(mostly, count=None, seed=0, classes=2) == list(range(7))
    with pytest.raises(LabelError, match="8 labelled scenes were asked for and 7"):
        draw_pairs(mostly, count=8, seed=0, classes=2)
    with pytest.raises(LabelError, match="fewer than two classes"):
        draw_pairs(labelled([1, 1]), count=1, seed=0, classes=2)


def test_one_scene_of_one_class_gives_way_to_one_of_two() -> None:
    both = labelled([0, 0, 0, 1], pairs=[0, 1, 2, 2])
    assert {draw_pairs(both, count=1, seed=seed, classes=2)[0] for seed in range(9)} == {2}


@pytest.mark.slow
def test_a_curve(bright_pairs) -> None:
    pairs = bright_pairs(14)
    curve = probe_curve(
        pretrained(), pairs[:3], pairs[3:], classes=2, counts=(1, 2, 30, None), seeds=2
    )
    assert [point.count for point in curve.points[::3]] == [1, 2, 3]
    assert [point.reader for point in curve.points[:3]] == [
        "encoder", "random weights", "raw bands"
    ]  # fmt: skip
    for point in curve.points:
        assert point.mean_iou == pytest.approx(np.mean(point.by_seed))
        assert point.interval is not None
        assert point.interval[0] <= point.mean_iou <= point.interval[1]
        if point.reader == "encoder":
            assert (point.gain, point.gain_interval) == (0, None)
    text = str(curve)
    assert "11 scored places" in text
    assert text.count("random weights") == 3
    facts = curve.facts()
    assert len(facts["points"]) == 9
    assert facts["points"][0]["mean IoU"] == round(curve.points[0].mean_iou, 4)
    # The same again, and each point whatever others are asked for.
    again = probe_curve(pretrained(), pairs[:3], pairs[3:], classes=2, counts=(2,), seeds=2)
    assert again.points == curve.points[3:6]


@pytest.mark.slow
def test_a_curve_is_of_single_probes(bright_pairs, few_pixels) -> None:
    """Its probes share what does not depend on the seed; each is what it would be alone."""
    pairs, ours = bright_pairs(4), pretrained()
    curve = probe_curve(
        ours, pairs[:2], pairs[2:], classes=2, counts=(1, None), seeds=2, inputs="tokens"
    )
    taught, scored = (read_labelled(part, CONTRACT, size=32) for part in (pairs[:2], pairs[2:]))
    for point in curve.points:
        for seed, found in enumerate(point.by_seed):
            net = ours.encoder
            if point.reader != "encoder":
                net = random_weights(net, seed=seed)
            alone = probe(
                taught,
                token_maps(net, taught.x),
                scored,
                token_maps(net, scored.x),
                classes=2,
                inputs="bands" if point.reader == "raw bands" else "tokens",
                count=point.count,
                seed=seed,
            )
            assert alone.mean_iou == found  # to the bit


@pytest.mark.slow
def test_the_encoder_sees_each_image_once(bright_pairs, few_pixels, monkeypatch) -> None:
    pairs, seen = bright_pairs(4), []
    look = Encoder.feature_maps
    monkeypatch.setattr(
        Encoder,
        "feature_maps",
        lambda net, x, *args: seen.append((net, len(x))) or look(net, x, *args),
    )
    ours, told = pretrained(), []
    probe_curve(
        ours, pairs[:2], pairs[2:], classes=2, counts=(1, None), seeds=3, inputs="tokens",
        progress=lambda share, what: told.append((share, what)),
    )  # fmt: skip
    images = len(read_labelled(pairs, CONTRACT, size=32).x)
    assert sum(count for net, count in seen if net is ours.encoder) == images
    assert sum(count for net, count in seen if net is not ours.encoder) == 3 * images
    assert max(count for _, count in seen) <= 8  # so that few maps are held
    assert [share for share, _ in told] == pytest.approx(np.arange(9) / 9)


def pretrained_on(pairs) -> dict:
    """What an encoder records that was pretrained on these scenes."""
    areas = [Area(pair.scene, (Window(0, 0, *pair.scene.shape),)) for pair in pairs]
    sources = [pair.scene.id for pair in pairs]
    return {"training_footprint": footprint(areas), "sources": sources, "licences": []}


def note_of(provenance, pairs) -> str:
    """The note of a small probe, which is also on the card."""
    ours = replace(pretrained(), provenance=provenance)
    kept, curve = probe_by_area(ours, pairs, counts=(None,), seeds=1)
    assert kept.provenance["scores"]["linear probe"]["note"] == curve.note
    assert curve.note in str(curve)
    return curve.note


@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_what_was_seen_in_pretraining_is_said(bright_pairs, few_pixels, crs) -> None:
    """By place; by name where there is none."""
    pairs = bright_pairs(4, apart=20_000, crs=crs, height=32, width=40)
    roles = split_pairs(pairs, val=0.0, test=0.5)
    (taught, _), (one, other) = (
        [pairs[at] for at, _ in part] for part in (roles.train, roles.test)
    )
    said = "{} of 2 scored scenes seen in pretraining, at least in part (pixels, not labels)"
    assert said.format(2) in note_of(pretrained_on(pairs), pairs)
    assert said.format(1) in note_of(pretrained_on([one, taught]), pairs)
    # The scenes that an encoder was begun with count as well.
    further = pretrained_on([other]) | {"encoder": pretrained_on([one])}
    assert said.format(2) in note_of(further, pairs)


def test_nothing_is_said_of_pretraining_that_saw_none_of_it(bright_pairs, few_pixels) -> None:
    pairs = bright_pairs(4, apart=20_000, height=32, width=40)
    taught = [pairs[at] for at, _ in split_pairs(pairs, val=0.0, test=0.5).train]
    assert "pretraining" not in note_of(pretrained_on(taught), pairs)
    assert "pretraining" not in note_of({}, pairs)


@pytest.mark.slow
def test_a_curve_over_dates(bright_pairs) -> None:
    pairs = bright_pairs(4, dates=2)
    curve = probe_curve(
        pretrained(dates=2), pairs[:2], pairs[2:], classes=2, counts=(None,), seeds=1
    )
    assert all(point.interval is None for point in curve.points)
    assert "no interval" in curve.note
    # An encoder of one date sees two as well.
    assert probe_curve(pretrained(), pairs[:2], pairs[2:], classes=2, counts=(None,), seeds=1)


def test_what_cannot_be_probed(bright_pairs, make_scene) -> None:
    pairs = bright_pairs(2)
    with pytest.raises(ConfigError, match="0 seeds"):
        probe_curve(pretrained(), pairs, pairs, classes=2, seeds=0)
    blank = [replace(pairs[0], labels=Codes(np.full((61, 83), IGNORE, np.uint8)))]
    with pytest.raises(LabelError, match="no valid pixel"):
        probe_curve(pretrained(), blank, pairs, classes=2)
    thin = open_scene(make_scene("thin.tif", bands=("red", "nir")))
    with pytest.raises(BandError, match="the model needs"):
        probe_curve(pretrained(), [replace(pairs[0], scene=thin)], pairs, classes=2)
