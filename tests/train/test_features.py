"""Kept features: those that would be computed, to the last bit, and never computed twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geofm.contract import PixelContract
from geofm.errors import OutputError
from geofm.model.coordinates import Coordinates
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder, load_model_folder, save_model
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels
from geofm.scenes.window import Window
from geofm.tasks import FLOOD, IGNORE, SHARED_BANDS
from geofm.tiles.area import Area
from geofm.tiles.labelled import DrawnWindows, FixedWindows
from geofm.train.config import FinetuneConfig
from geofm.train.features import RememberingEncoder
from geofm.train.finetune import finetune_segmenter

SHAPE = EncoderConfig(bands=6, image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)
CONTRACT = PixelContract(SHARED_BANDS, "surface", (0.15,) * 6, (0.05,) * 6, 10.0)
CONFIG = FinetuneConfig(
    steps=6, batch_size=4, channels=16, depths=(0, 1), encoder_rate=0, learning_rate=3e-3
)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(SHAPE).eval()


@pytest.fixture
def forwards(monkeypatch):
    """Batches that go through an encoder's blocks."""
    seen = []
    real = Encoder.feature_tokens

    def counted(self, x, *args, **options):
        seen.append(len(x))
        return real(self, x, *args, **options)

    monkeypatch.setattr(Encoder, "feature_tokens", counted)
    return seen


def images(count=3, dates=1):
    return torch.randn(count, dates, 6, 16, 16)


def same(ours, theirs):
    return all(a.equal(b) and a.stride() == b.stride() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dates", [1, 2])
def test_what_is_kept_is_what_would_be_computed(encoder, tmp_path, forwards, dates):
    plain = Encoder(replace(SHAPE, dates=dates)).eval()
    x = images(dates=dates)
    with torch.inference_mode():
        expected = plain.feature_maps(x, (0, 1))
        for _ in range(2):  # the second time by another process, as it were
            keeping = RememberingEncoder(plain, tmp_path)
            assert same(keeping.feature_maps(x, (0, 1)), expected)
            assert same(
                keeping.feature_maps(x.flip(0), (0, 1)), plain.feature_maps(x.flip(0), (0, 1))
            )
    # The plain one thrice, the keeping one once: a flipped batch has windows it knows.
    assert len(forwards) == 4
    assert keeping.state_dict().keys() == plain.state_dict().keys()


def test_kept_in_bfloat16_they_stay_what_they_are(encoder, tmp_path):
    keeping, x = RememberingEncoder(encoder, tmp_path), images()
    with torch.no_grad():
        exact = keeping.feature_maps(x, (1,))
        with torch.autocast("cpu", torch.bfloat16):
            first = keeping.feature_maps(x, (1,))
            again = keeping.feature_maps(x, (1,))
    assert same(first, again)
    assert first[0].dtype == again[0].dtype
    assert not first[0].float().equal(exact[0])


@pytest.mark.parametrize("change", ["pixels", "weights", "depths", "batch", "threads", "when"])
def test_whatever_decides_a_feature_decides_what_is_found(tmp_path, forwards, change):
    torch.manual_seed(0)
    encoder = Encoder(replace(SHAPE, coordinates=("time",))).eval()
    x, depths = images(), (0, 1)
    when = Coordinates(torch.zeros(3, 1, 2))
    RememberingEncoder(encoder, tmp_path).feature_maps(x, depths, when)
    match change:
        case "pixels":
            x = x + 1e-6
        case "weights":
            with torch.no_grad():
                encoder.norm.bias += 1e-6
        case "depths":
            depths = (1,)
        case "batch":
            x, when = x[:2], Coordinates(torch.zeros(2, 1, 2))
        case "threads":
            torch.set_num_threads(2)
        case "when":
            when = Coordinates(torch.ones(3, 1, 2))
    forwards.clear()
    RememberingEncoder(encoder, tmp_path).feature_maps(x, depths, when)
    assert len(forwards) == 1


def test_damaged_files_are_computed_again(encoder, tmp_path):
    keeping, x = RememberingEncoder(encoder, tmp_path), images()
    expected = keeping.feature_maps(x, (0,))
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    assert same(RememberingEncoder(encoder, tmp_path).feature_maps(x, (0,)), expected)
    assert sorted(tmp_path.rglob("*.npy")) == files
    assert not list(tmp_path.rglob("*.partial"))


def test_the_oldest_give_way_at_the_limit(encoder, tmp_path):
    one = images(1)
    RememberingEncoder(encoder, tmp_path / "one").feature_maps(one, (0,))
    (file,) = (tmp_path / "one").rglob("*.npy")
    size = file.stat().st_size
    for _ in range(2):  # what an earlier run has left counts too
        keeping = RememberingEncoder(encoder, tmp_path / "all", limit=3 * size)
        for _ in range(4):
            keeping.feature_maps(images(1), (0,))
            held = [f.stat().st_size for f in (tmp_path / "all").rglob("*.npy")]
            assert sum(held) <= 3 * size
    last = images(1)
    first = keeping.feature_maps(last, (0,))
    assert len(held) == 3
    assert same(keeping.feature_maps(last, (0,)), first)


def test_a_folder_that_cannot_be_written_is_refused(encoder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="features cannot be kept in .*file.*another folder"):
        RememberingEncoder(encoder, tmp_path / "file").feature_maps(images(), (0,))


# -- the loop of few labels


@pytest.fixture
def scene(make_scene):
    return open_scene(make_scene("lake.tif", seed=3))


@pytest.fixture
def labels(scene, tmp_path):
    return open_labels(make_labels(tmp_path / "l.tif", scene.paths[0], seed=3), scene.geobox)


class Codes:
    def __init__(self, codes):
        self.codes = codes

    def read(self, window=None):
        return self.codes if window is None else self.codes[window.slices]


def train(encoder, scene, labels, folder, **change):
    pretrained = PretrainedEncoder(
        encoder=encoder, contract=CONTRACT, name="random", provenance={"licences": []}
    )
    return finetune_segmenter(
        "flood",
        FLOOD.classes,
        [Pair(scene, labels, "lake")],
        encoder=pretrained,
        config=replace(CONFIG, **change),
        features=folder,
    )


def weights(model):
    return {name: tensor.clone() for name, tensor in model.segmenter.state_dict().items()}


def test_the_map_has_the_same_bytes_with_kept_features_and_without(
    encoder, scene, labels, tmp_path, forwards
):
    model = train(encoder, scene, labels, tmp_path / "features")
    options = MapOptions(probabilities=True)
    maps = [map_in_memory(model, scene, options=options)]
    forwards.clear()
    maps.append(map_in_memory(model, scene, options=options))
    assert not forwards, "the second map computes its head alone"

    save_model(model, tmp_path / "m.geofm")
    plain = load_model_folder(tmp_path / "m.geofm")
    assert type(plain.segmenter.encoder) is Encoder
    maps.append(map_in_memory(plain, scene, options=options))
    for found in maps[1:]:
        assert found.recipe == maps[0].recipe
        for name in ("classes", "confidence", "probabilities"):
            np.testing.assert_array_equal(getattr(found, name), getattr(maps[0], name))


@pytest.mark.slow
def test_after_a_correction_neither_training_nor_mapping_runs_the_encoder(
    encoder, scene, labels, tmp_path, forwards
):
    first = train(encoder, scene, labels, tmp_path / "features", steps=40)
    map_in_memory(first, scene)
    forwards.clear()
    corrected = labels.read().copy()
    corrected[:10, :10] = 1 - corrected[:10, :10].clip(max=1)
    second = train(encoder, scene, Codes(corrected), tmp_path / "features", steps=40)
    map_in_memory(second, scene)
    assert not forwards
    assert any(not tensor.equal(weights(second)[name]) for name, tensor in weights(first).items())


@pytest.mark.slow
def test_kept_features_train_the_same_weights_as_fresh_ones(encoder, scene, labels, tmp_path):
    one = train(encoder, scene, labels, tmp_path / "a")
    two = train(encoder, scene, labels, tmp_path / "a")
    three = train(encoder, scene, labels, tmp_path / "b")
    for other in (two, three):
        assert all(tensor.equal(weights(other)[name]) for name, tensor in weights(one).items())
    for name, tensor in encoder.state_dict().items():
        assert weights(one)[f"encoder.{name}"].equal(tensor)


def test_each_window_is_met_before_any_is_met_again(scene, labels):
    area = Area(scene, (Window(0, 0, *scene.shape),), labels)
    drawn = DrawnWindows(FixedWindows([area], size=16, overlap=4, classes=2), seed=1)
    count = len(drawn.windows)
    assert {int(drawn[i].number) for i in range(count)} == set(range(count))
    later = [int(drawn[i].number) for i in range(count, count + 60)]
    assert later == [int(drawn[i].number) for i in range(count, count + 60)]
    assert set(later) <= set(range(count))


def test_windows_without_labels_are_not_trained_on(encoder, scene, labels, tmp_path, forwards):
    few = np.full(scene.shape, IGNORE, np.uint8)
    few[2:5, 2:5], few[8:10, 2:5] = 0, 1
    train(encoder, scene, Codes(few), tmp_path / "features")
    assert len(list((tmp_path / "features").rglob("*.npy"))) == 1
