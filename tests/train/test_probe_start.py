"""A head that begins as a linear probe: it is that probe, and training starts from there."""

import numpy as np
import pytest
import rasterio
import torch

from geofm.errors import ConfigError, ModelError
from geofm.model.folder import load_model_folder, save_model
from geofm.model.heads import HeadConfig
from geofm.model.segmenter import Segmenter
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import water_truth
from geofm.tasks import FLOOD
from geofm.tiles.area import areas_of
from geofm.tiles.dataset import TileDataset, label_spots
from geofm.train.config import EncoderShape, FinetuneConfig
from geofm.train.finetune import finetune_segmenter, labelled_contract
from geofm.train.inputs import normalise_batch
from geofm.train.pretrain import encoder_config
from geofm.train.probe_start import begin_as_probe

HEIGHT, WIDTH = 61, 83
SHAPE = EncoderShape(image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)


@pytest.fixture
def pair(make_scene, tmp_path):
    scene = open_scene(make_scene("lake.tif", height=HEIGHT, width=WIDTH, seed=3))
    path = tmp_path / "codes.tif"
    grid = {"crs": scene.geobox.crs.to_wkt(), "transform": scene.geobox.affine}
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=1, dtype="uint8", **grid
    ) as file:
        file.write(water_truth(HEIGHT, WIDTH, seed=3).astype(np.uint8), 1)
    return Pair(scene, open_labels(path, scene.geobox, classes={0: 0, 1: 1}), "lake")


def begun(pair, *, seed=0):
    from geofm.model.encoder import Encoder

    contract = labelled_contract("flood", [pair])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Encoder(encoder_config(SHAPE, bands=len(contract.bands), dates=1))
        head = HeadConfig(classes=2, depths=(1,), channels=16, skip=True)
        segmenter = Segmenter(encoder, head)
    areas = areas_of([pair.scene], None, [pair.labels])
    spots = label_spots(areas, classes=2, size=16)
    samples = TileDataset(areas, spots, size=16, length=200, seed=seed)
    begin_as_probe(segmenter, contract, areas, samples, batch_size=8, seed=seed)
    return segmenter, contract, areas


def whole_scene(areas, contract):
    """(1, T, C, 60, 80) of the scene's corner, and its labels (60, 80)."""
    from geofm.tiles.dataset import Sample

    stored = areas[0].scene.read_stored()
    dn = torch.from_numpy(stored.dn.astype(np.float32))[None, ..., :60, :80]
    valid = torch.from_numpy(stored.valid)[None, :, :60, :80]
    scale, offset = (
        torch.from_numpy(part)[None] for part in (areas[0].scene.scale, areas[0].scene.offset)
    )
    none = torch.full((1, 1, 2), float("nan"))
    batch = Sample(
        dn, valid, torch.zeros(1, 60, 80), scale, offset, torch.zeros(1), none, none[:, 0]
    )
    return normalise_batch(batch, contract), areas[0].labels.read()[:60, :80]


def test_the_first_logits_are_those_of_the_linear_reader(pair):
    segmenter, contract, areas = begun(pair)
    x, target = whole_scene(areas, contract)
    with torch.no_grad():
        logits = segmenter(x)
        features = segmenter.encoder.feature_maps(x, (1,))
        tokens, bands = segmenter.head.skip.tokens, segmenter.head.skip.bands
        around = torch.nn.functional.interpolate(features[0], (60, 80), mode="bilinear")
        plain = (
            torch.einsum("bdhw,kd->bkhw", around.double(), tokens.weight[..., 0, 0].double())
            + torch.einsum("bchw,kc->bkhw", x[:, 0].double(), bands.weight[..., 0, 0].double())
            + bands.bias.double()[:, None, None]
        )
    torch.testing.assert_close(logits.double(), plain, atol=1e-4, rtol=1e-4)
    right = (logits.argmax(dim=1)[0].numpy() == target)[target < 2].mean()
    assert right > 0.9, right


@pytest.mark.slow
def test_the_start_repeats_and_leaves_the_random_state_alone(pair):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, _, _ = begun(pair)
    assert before.equal(torch.random.get_rng_state())
    two, _, _ = begun(pair)
    other, _, _ = begun(pair, seed=1)
    assert one.head.skip.tokens.weight.equal(two.head.skip.tokens.weight)
    assert not one.head.skip.tokens.weight.equal(other.head.skip.tokens.weight)


def test_training_goes_on_from_it_and_the_folder_keeps_it(pair, tmp_path):
    model = finetune_segmenter(
        "flood",
        FLOOD.classes,
        [pair],
        config=FinetuneConfig(scratch=SHAPE, steps=3, batch_size=4, channels=16),
    )
    assert model.segmenter.head_config.skip  # what fcn does unless it is told otherwise
    save_model(model, tmp_path / "flood.geofm")
    again = load_model_folder(tmp_path / "flood.geofm")
    weights, same = model.segmenter.state_dict(), again.segmenter.state_dict()
    assert weights.keys() == same.keys()
    assert all(weights[name].equal(same[name]) for name in weights)


def test_only_fcn_begins_as_a_probe():
    with pytest.raises(ConfigError, match="only fcn begins as a probe"):
        FinetuneConfig(start="probe", head="linear")
    with pytest.raises(ModelError, match="linear has no skip"):
        HeadConfig(kind="linear", classes=2, depths=(1,), skip=True)
