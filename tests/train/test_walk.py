"""Pretrain and fine-tune on small scenes: it learns, it repeats, and it reads only what it may."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geofm.errors import BandError, ConfigError, GridError, LabelError, SceneError, UnitsError
from geofm.model.folder import load_model_folder, save_model
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import water_truth
from geofm.scenes.window import Window
from geofm.tasks import FLOOD, IGNORE
from geofm.train.config import EncoderShape, FinetuneConfig, PretrainConfig, TrainingConfig
from geofm.train.finetune import finetune_segmenter
from geofm.train.loop import fit
from geofm.train.optim import Rate
from geofm.train.pretrain import hiding_noise, pretrain_encoder

SHAPE = EncoderShape(image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)
PRETRAIN = PretrainConfig(
    encoder=SHAPE, steps=12, batch_size=8, decoder_dim=32, decoder_depth=1, decoder_heads=2
)
FINETUNE = FinetuneConfig(
    steps=30, batch_size=8, channels=16, learning_rate=3e-3, encoder_rate=1.0, start="random"
)
HEIGHT, WIDTH = 61, 83
TRAIN, TEST = (Window(0, 0, HEIGHT, 50),), Window(0, 56, HEIGHT, WIDTH - 56)


@pytest.fixture
def pair(make_scene, tmp_path):
    scene = open_scene(make_scene("lake.tif", height=HEIGHT, width=WIDTH, seed=3))
    codes = water_truth(HEIGHT, WIDTH, seed=3).astype(np.uint8)
    return Pair(scene, labels_of(codes, scene, tmp_path / "codes.tif"), "lake")


def labels_of(codes, scene, path: Path):
    height, width = codes.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="uint8",
        nodata=IGNORE,
        crs=scene.geobox.crs.to_wkt(),
        transform=scene.geobox.affine,
    ) as file:
        file.write(codes, 1)
    return open_labels(path, scene.geobox)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def finetune(pair, **options):
    config = options.pop("config", FINETUNE)
    return finetune_segmenter("flood", FLOOD.classes, [pair], config=config, **options)


def test_the_walk_learns_water(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    told = []
    encoder = pretrain_encoder(
        [pair.scene], PRETRAIN, windows=[TRAIN], progress=lambda *step: told.append(step)
    )
    model = finetune(pair, encoder=encoder, windows=[TRAIN])

    pixels = pair.scene.read(Window(0, 56, 60, 24))
    x = (torch.from_numpy(pixels.values) - torch.tensor(model.contract.mean)[:, None, None]) / (
        torch.tensor(model.contract.std)[:, None, None]
    )
    with torch.inference_mode():
        found = model.segmenter(x[None])[0].argmax(0).numpy()
    truth = water_truth(HEIGHT, WIDTH, seed=3)[0:60, 56:80]
    assert (found == truth)[pixels.valid[0]].mean() > 0.9

    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] == 1
    assert "masked autoencoding, loss" in told[-1][1]
    # No logs, no checkpoints.
    assert set(tmp_path.iterdir()) == before


def test_contract_and_provenance_tell_what_was_seen(pair):
    import shapely

    encoder = pretrain_encoder([pair.scene], PRETRAIN, windows=[TRAIN], licences=["mine"])
    contract = encoder.contract
    assert contract.bands == pair.scene.bands
    assert (contract.level, contract.dates) == ("surface", 1)
    assert contract.resolution == pytest.approx(pair.scene.resolution)
    seen = pair.scene.read(TRAIN[0])
    plain = [seen.values[:, c][seen.valid].astype(np.float64) for c in range(6)]
    np.testing.assert_allclose(contract.mean, [p.mean() for p in plain], rtol=1e-9)
    np.testing.assert_allclose(contract.std, [p.std() for p in plain], rtol=1e-9)

    model = finetune(pair, encoder=replace(encoder, sha256="0" * 64), windows=[TRAIN])
    assert model.contract == replace(contract, masked_qa=FLOOD.masked_qa)
    assert model.provenance["encoder"]["sha256"] == "0" * 64
    assert encoder.provenance["licences"] == ["mine"]
    for provenance in (encoder.provenance, model.provenance):
        covered = shapely.geometry.shape(provenance["training_footprint"])
        whole = pair.scene.footprint
        assert covered.area / whole.area == pytest.approx(50 / WIDTH, rel=1e-3)
        assert provenance["sources"] == ["lake"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state(pair):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    one = pretrain_encoder([pair.scene], PRETRAIN)
    assert torch.rand(3).equal(expected)
    two = pretrain_encoder([pair.scene], PRETRAIN)
    assert same(weights(one.encoder), weights(two.encoder))
    other = pretrain_encoder([pair.scene], replace(PRETRAIN, seed=1))
    assert not same(weights(one.encoder), weights(other.encoder))

    before = weights(one.encoder)
    models = [finetune(pair, encoder=one) for _ in range(2)]
    assert same(*(weights(model.segmenter) for model in models))
    assert same(before, weights(one.encoder)), "fine-tuning works on a copy"
    assert not same(before, weights(models[0].segmenter.encoder))


@pytest.mark.slow
def test_pixels_outside_the_windows_and_invalid_ones_change_no_weight(pair, tmp_path):
    # Not even of the linear reader that a head begins as.
    config = replace(FINETUNE, start="probe")

    def trained(scene, labels):
        other = Pair(scene, labels, "other")
        encoder = pretrain_encoder([scene], PRETRAIN, windows=[TRAIN])
        return weights(finetune(other, encoder=encoder, windows=[TRAIN], config=config).segmenter)

    with rasterio.open(pair.scene.paths[0]) as file:
        profile, dn = file.profile, file.read()
        tags, names, scales = file.tags(), file.descriptions, file.scales
    codes = pair.labels.read()
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[20:30, 5:25] = True

    def write(name, inside_hole, outside):
        numbers = dn.copy()
        numbers[:, TEST.slices[0], TEST.slices[1]] = outside
        numbers[0, hole] = 0  # one band without a measurement makes the pixel invalid
        numbers[1:, hole] = inside_hole
        labels = codes.copy()
        labels[TEST.slices] = outside // 500 % 2
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", **profile) as file:
            file.write(numbers)
            file.update_tags(**tags)
            file.descriptions, file.scales = names, scales
        scene = open_scene(path)
        return scene, labels_of(labels, scene, tmp_path / f"{name}_codes.tif")

    assert same(
        trained(*write("one", 1000, 500)),
        trained(*write("two", 9999, 8000)),
    )


def test_without_an_encoder_it_starts_from_nothing(pair):
    model = finetune(pair, config=replace(FINETUNE, scratch=SHAPE, steps=2))
    assert model.segmenter.encoder.config.embed_dim == 32
    assert model.provenance["encoder"] is None
    assert model.contract.bands == pair.scene.bands


def test_a_rate_of_0_freezes_the_encoder_alone(pair):
    encoder = pretrain_encoder([pair.scene], PRETRAIN)
    model = finetune(pair, encoder=encoder, config=replace(FINETUNE, encoder_rate=0, steps=3))
    assert same(weights(encoder.encoder), weights(model.segmenter.encoder))
    assert all(p.requires_grad for p in model.segmenter.parameters())
    assert not model.segmenter.training


@pytest.mark.parametrize("head", ["unet", "upernet"])
def test_heads_of_published_models_are_open_to_everyone(pair, head, tmp_path):
    deep = replace(SHAPE, image_size=32, depth=4)
    config = replace(FINETUNE, scratch=deep, head=head, channels=8, steps=3)
    model = finetune(pair, config=config)
    assert model.segmenter.head_config.depths == (0, 1, 2, 3)
    save_model(model, tmp_path / "m.geofm")
    assert same(
        weights(load_model_folder(tmp_path / "m.geofm").segmenter), weights(model.segmenter)
    )


def test_scenes_of_many_dates_train_an_encoder_of_many_dates(make_scene):
    scene = open_scene(make_scene("dates.tif", height=40, width=40, dates=3, nodata_corner=True))
    encoder = pretrain_encoder([scene], replace(PRETRAIN, steps=2))
    assert encoder.contract.dates == 3
    assert encoder.encoder.config.grid == (3, 4, 4)


def test_hidden_patches_follow_from_seed_and_number():
    noise = hiding_noise(torch.tensor([4, 9, 4]), tokens=50, seed=2)
    assert noise.shape == (3, 50)
    assert noise[0].equal(noise[2])
    assert not noise[0].equal(noise[1])
    assert not noise.equal(hiding_noise(torch.tensor([4, 9, 4]), tokens=50, seed=3))
    assert 0 <= noise.min() <= noise.max() < 1


def test_a_loss_that_is_no_number_stops_with_advice():
    model = torch.nn.Linear(1, 1)
    steps = [True, False]

    class Breaking:
        def count(self, batch):
            return torch.ones(1, dtype=torch.float64)

        def loss(self, batch, counts):
            return model(batch[0]).mean() * (float("inf") if steps.pop() else 1)

    config = TrainingConfig(steps=3, batch_size=2, learning_rate=0.5)
    with pytest.raises(ConfigError, match=r"the loss is -?inf at step 2; lower .* \(now 0.5\)"):
        fit(model, Breaking(), [(torch.ones(1),)] * 6, config=config, rates=[Rate(model, 0.5)])


def test_scenes_that_do_not_go_together_are_refused(pair, make_scene):
    def pretrain(*scenes):
        pretrain_encoder(scenes, PRETRAIN)

    toa = open_scene(make_scene("toa.tif", level="toa"))
    with pytest.raises(UnitsError, match="toa is toa, lake is surface"):
        pretrain(pair.scene, toa)
    with pytest.raises(UnitsError, match="processing level unknown"):
        pretrain(replace(pair.scene, level="unknown"))
    dates = open_scene(make_scene("two.tif", dates=2))
    with pytest.raises(SceneError, match="two has 2 dates, lake has 1"):
        pretrain(pair.scene, dates)
    with pytest.raises(BandError, match="needed blue, green, red"):
        pretrain(pair.scene, pair.scene.select(bands=["red", "blue"]))
    nowhere = open_scene(make_scene("nowhere.tif", crs=None))
    with pytest.raises(GridError, match="nowhere has no CRS"):
        pretrain(nowhere)
    from affine import Affine

    coarse = open_scene(make_scene("coarse.tif", transform=Affine(30, 0, 330000, 0, -30, 5822040)))
    with pytest.raises(GridError, match="pixels of 10 to 30 m on the ground"):
        pretrain(pair.scene, coarse)
    with pytest.raises(SceneError, match="no scene to train on"):
        pretrain()


def test_what_cannot_be_fine_tuned_is_refused(pair):
    encoder = pretrain_encoder([pair.scene.select(bands=["green", "nir08"])], PRETRAIN)
    lacking = replace(pair, scene=pair.scene.select(bands=["green", "red"]))
    with pytest.raises(BandError, match="needs nir08 too"):
        finetune(lacking, encoder=encoder)
    with pytest.raises(ConfigError, match="image_size is 18; needed a multiple of the encoder's"):
        finetune(pair, encoder=encoder, config=replace(FINETUNE, image_size=18))
    with pytest.raises(LabelError, match="give one or more pairs"):
        finetune_segmenter("flood", FLOOD.classes, [], encoder=encoder)
