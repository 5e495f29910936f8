"""Pretraining: what it leaves out, what it reads, what it tells, and what moves no weight."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from geofm.errors import ConfigError, GridError, ModelError, SceneError, UnitsError
from geofm.model.folder import load_encoder_folder, save_encoder
from geofm.scenes.open import open_scene
from geofm.scenes.skipped import Skipped
from geofm.train.config import EncoderShape, PretrainConfig
from geofm.train.pretrain import Sieve, hiding_noise, new_autoencoder, pretrain_encoder, start_from

SHAPE = EncoderShape(image_size=16, patch_size=4, embed_dim=32, depth=1, num_heads=2)
CONFIG = PretrainConfig(
    encoder=SHAPE, steps=4, batch_size=8, decoder_dim=32, decoder_depth=1, decoder_heads=2
)


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.encoder.state_dict().items()}


def same(a, b):
    return all(a[name].equal(b[name]) for name in a)


def rewrite(path, change):
    """The file again, its numbers (bands, rows, columns) changed; nothing else."""
    with rasterio.open(path) as file:
        numbers, profile = file.read(), file.profile
        tags, names, scales = file.tags(), file.descriptions, file.scales
    with rasterio.open(path, "w", **profile) as file:
        file.write(change(numbers))
        file.update_tags(**tags)
        file.descriptions, file.scales = names, scales
    return path


def clouded(make_scene, tmp_path, name, under, *, dates=1, share=0.4):
    """A scene whose cloud mask covers its top rows; ``under`` is what the sensor saw there."""
    path = make_scene(f"{name}.tif", height=64, width=64, dates=dates, seed=4)
    rows = round(64 * share)

    def cover(numbers):
        numbers[:, :rows] = under
        return numbers

    rewrite(path, cover)
    mask = np.zeros((64, 64), np.uint8)
    mask[:rows] = 1
    with rasterio.open(path) as file:
        profile = {
            **{key: file.profile[key] for key in ("crs", "transform", "height", "width")},
            "driver": "GTiff",
            "count": 1,
            "dtype": "uint8",
        }
    cloud = tmp_path / f"{name}_cloud.tif"
    with rasterio.open(cloud, "w", **profile) as file:
        file.write(mask, 1)
    return open_scene(path, quality=cloud)


@pytest.mark.parametrize(
    ("masking", "target"), [("random", "departures"), ("tube", "departures"), ("random", "patches")]
)
def test_what_lies_under_clouds_moves_no_weight(make_scene, tmp_path, masking, target):
    config = replace(CONFIG, masking=masking, target=target)
    encoders = [
        pretrain_encoder([clouded(make_scene, tmp_path, name, number, dates=2)], config)
        for name, number in (("dark", 7), ("bright", 9999))
    ]
    assert encoders[0].contract == encoders[1].contract
    assert encoders[0].contract.masked_qa == ("cloud", "cirrus")
    assert same(*map(weights, encoders))
    valid = encoders[0].provenance["scenes"]["valid_share"]
    assert 0.5 < valid < 0.6  # 60 % clear, less the corner


def test_a_scene_full_of_cloud_is_left_out_by_name(make_scene, tmp_path):
    clear = open_scene(make_scene("clear.tif"))
    full = clouded(make_scene, tmp_path, "full", 5000, share=1.0)
    found = pretrain_encoder([clear, full], CONFIG)
    assert found.provenance["sources"] == ["clear"]
    assert dict(found.provenance["scenes"]["why"]) == {
        "full": "no valid pixel: nodata, or set aside by quality"
    }
    assert found.provenance["scenes"]["left_out"] == 1
    alone = pretrain_encoder([clear], CONFIG)
    assert same(weights(alone), weights(found))
    with pytest.raises(SceneError, match="full: no valid pixel in the training area"):
        pretrain_encoder([full], CONFIG)


def cut_off(path):
    """A file that opens and whose last blocks are missing."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


@pytest.mark.slow
def test_one_damaged_file_in_a_hundred_is_left_out_by_name(make_scene):
    scenes = [
        open_scene(make_scene(f"s{number}.tif", height=24, width=24, seed=number))
        for number in range(100)
    ]
    cut_off(Path(scenes[41].paths[0]))
    found = pretrain_encoder(scenes, CONFIG)
    told = found.provenance["scenes"]
    assert (told["used"], told["left_out"]) == (99, 1)
    assert "cannot be read" in dict(told["why"])["s41"]
    assert "s41" not in found.provenance["sources"]
    others = pretrain_encoder(scenes[:41] + scenes[42:], CONFIG)
    assert others.contract == found.contract
    assert same(weights(others), weights(found))
    with pytest.raises(SceneError, match="1 of 3 scenes cannot be used, and at most 10% may be"):
        pretrain_encoder(scenes[40:43], CONFIG)
    pretrain_encoder(scenes[40:43], replace(CONFIG, most_skipped=0.5))


def test_windows_without_enough_to_see_are_drawn_anew(make_scene):
    def hole(numbers):
        numbers[:, :, :52] = 0
        return numbers

    path = rewrite(make_scene("holes.tif", height=64, width=64, nodata_corner=False), hole)
    found = pretrain_encoder([open_scene(path)], CONFIG)
    assert np.isfinite(found.provenance["loss"])
    # Twelve columns of sixteen can fill three quarters of the patches, and must not be all.
    with pytest.raises(SceneError, match="no window of 16 x 16 px has enough valid patches"):
        pretrain_encoder([open_scene(path)], replace(CONFIG, mask_ratio=0.01))


def test_a_scene_too_small_to_fill_a_sample_is_left_out(make_scene):
    small = open_scene(make_scene("small.tif", height=7, width=7, nodata_corner=False))
    large = open_scene(make_scene("large.tif"))
    found = pretrain_encoder([small, large], replace(CONFIG, mask_ratio=0.5))
    assert dict(found.provenance["scenes"]["why"]) == {
        "small": "7 x 7 px fill too few patches of a sample of 16 px"
    }
    with pytest.raises(SceneError, match="none of 1 scenes can be learnt from: small: 7 x 7 px"):
        pretrain_encoder([small], replace(CONFIG, mask_ratio=0.5))


def test_the_sieve_says_what_the_autoencoder_can_use():
    random = np.random.default_rng(0)
    for masking in ("random", "tube"):
        for dates in (1, 3):
            config = replace(CONFIG, masking=masking, mask_ratio=0.6)
            mae = new_autoencoder(config, bands=1, dates=dates)
            sieve = Sieve.of(mae)
            verdicts = []
            for share in np.linspace(0, 1, 60):
                places = random.random((dates, 4, 4)) < share
                valid = places.repeat(4, axis=1).repeat(4, axis=2)
                out = mae(
                    torch.zeros(1, dates, 1, 16, 16),
                    torch.from_numpy(valid)[None],
                    hiding_noise(torch.tensor([1]), tokens=dates * 16, seed=0),
                )
                assert sieve(valid) == bool(out.hidden.any())
                verdicts.append(sieve(valid))
            assert set(verdicts) == {True, False}


def test_dates_are_drawn_from_longer_series(make_scene):
    long = open_scene(make_scene("long.tif", dates=5))
    short = open_scene(make_scene("short.tif", dates=1))
    found = pretrain_encoder([long], replace(CONFIG, dates=2))
    assert found.contract.dates == 2
    assert found.encoder.config.grid[0] == 2
    config = replace(CONFIG, dates=2, most_skipped=0.5)
    both = pretrain_encoder([long, short], config)
    assert dict(both.provenance["scenes"]["why"]) == {"short": "1 of 2 dates that a sample has"}
    with pytest.raises(SceneError, match="short has 1 dates, long has 5.*dates="):
        pretrain_encoder([long, short], CONFIG)


def test_resolutions_go_together_when_asked(make_scene):
    fine = open_scene(make_scene("fine.tif"))
    coarse = open_scene(make_scene("coarse.tif", transform=Affine(30, 0, 330000, 0, -30, 5822040)))
    chip = open_scene(make_scene("chip.tif", crs=None), ground_size=30)
    with pytest.raises(GridError, match="any_resolution"):
        pretrain_encoder([fine, coarse], CONFIG)
    found = pretrain_encoder([fine, coarse, chip], replace(CONFIG, any_resolution=True))
    assert found.contract.resolution == pytest.approx(30, rel=0.01)
    sizes = found.provenance["scenes"]["resolutions"]
    assert sizes == pytest.approx([10, 30, 30], rel=0.01)


def test_codes_are_told_and_dropped_by_number_alone(make_scene):
    shape = replace(SHAPE, coordinates=("time", "location"))
    scenes = [
        open_scene(make_scene("here.tif", dates=2)),
        open_scene(make_scene("nowhere.tif", dates=2, crs=None), ground_size=10),
    ]
    config = replace(CONFIG, encoder=shape, coordinate_dropout=0.5)
    found = pretrain_encoder(scenes, config)
    assert found.encoder.config.coordinates == ("time", "location")
    assert np.isfinite(found.provenance["loss"])
    assert same(weights(found), weights(pretrain_encoder(scenes, config)))
    untold = pretrain_encoder(scenes, replace(config, coordinate_dropout=1.0))
    begun = new_autoencoder(config, bands=6, dates=2).encoder
    for name in ("temporal_embed_enc", "location_embed_enc"):
        scale = f"{name}.scale"
        assert not weights(found)[scale].equal(begun.state_dict()[scale])
        assert weights(untold)[scale].equal(begun.state_dict()[scale])
    other = replace(scenes[0], dates=scenes[1].dates[::-1])
    assert not same(weights(found), weights(pretrain_encoder([other, scenes[1]], config)))


def test_training_goes_on_from_an_encoder(make_scene, tmp_path):
    scene = open_scene(make_scene("first.tif"))
    first = pretrain_encoder([scene.select(bands=["green", "nir08"])], CONFIG, licences=["mine"])
    save_encoder(first, tmp_path / "first.geofm")
    start = start_from(tmp_path / "first.geofm", dates=1)
    other = open_scene(make_scene("second.tif", seed=9, transform=Affine(20, 0, 0, 0, -20, 5e6)))
    found = pretrain_encoder([other], CONFIG, encoder=start.encoder)
    # Its bands and statistics stay; its pixels are those of the new scenes.
    assert found.contract.bands == ("green", "nir08")
    assert (found.contract.mean, found.contract.std) == (first.contract.mean, first.contract.std)
    assert found.contract.resolution == pytest.approx(20, rel=0.01)
    assert found.provenance["encoder"]["name"] == "encoder"
    assert found.provenance["licences"] == ["mine"]
    assert not same(weights(first), weights(found))
    frozen = pretrain_encoder([other], replace(CONFIG, encoder_rate=0), encoder=start.encoder)
    assert same(weights(first), weights(frozen))
    save_encoder(found, tmp_path / "second.geofm")
    assert same(weights(load_encoder_folder(tmp_path / "second.geofm")), weights(found))
    with pytest.raises(ConfigError, match="dates is 2; encoder reads 1"):
        pretrain_encoder([other], replace(CONFIG, dates=2), encoder=start.encoder)
    toa = open_scene(make_scene("toa.tif", level="toa"))
    with pytest.raises(UnitsError, match="toa is toa, encoder was trained on surface"):
        pretrain_encoder([toa], CONFIG, encoder=start.encoder)


def test_the_folder_tells_what_was_seen(make_scene, tmp_path):
    scene = open_scene(make_scene("seen.tif"))
    config, lost = replace(CONFIG, most_skipped=0.5), Skipped("lost", "is not there")
    found = pretrain_encoder([scene], config, licences=["cc-by-4.0"], skipped=[lost])
    save_encoder(found, tmp_path / "e.geofm")
    card = (tmp_path / "e.geofm" / "README.md").read_text()
    assert "- Masked autoencoding of 1 scene, 9" in card
    assert "4 steps, loss " in card
    assert "- Left out: 1 scene, which could not be used" in card
    told = json.loads((tmp_path / "e.geofm" / "model.json").read_text())["provenance"]
    assert dict(told["scenes"]["why"]) == {"lost": "is not there"}
    assert told["licences"] == ["cc-by-4.0"]
    assert told["losses"][-1][0] == CONFIG.steps
    assert told["training_footprint"]["type"] == "Polygon"
    assert told["seconds"] >= 0


def test_what_was_left_out_before_counts_in_the_share_that_may_be(make_scene):
    scenes = [open_scene(make_scene(f"s{i}.tif", height=24, width=24, seed=i)) for i in range(10)]
    short = open_scene(make_scene("short.tif", height=24, width=24))
    long = [open_scene(make_scene(f"t{i}.tif", height=24, width=24, dates=2)) for i in range(9)]
    twice = replace(CONFIG, dates=2)
    pretrain_encoder([*long, short], twice)
    with pytest.raises(SceneError, match="2 of 11 scenes cannot be used, and at most 10% may"):
        pretrain_encoder([*long, short], twice, skipped=[Skipped("lost", "is not there")])
    pretrain_encoder(scenes, CONFIG, skipped=[Skipped("lost", "is not there")])


def test_scenes_of_one_name_are_each_told(make_scene):
    small = [
        open_scene(make_scene("n.tif", height=7, width=7, nodata_corner=False)) for _ in range(2)
    ]
    found = pretrain_encoder(
        [*small, open_scene(make_scene("large.tif"))], replace(CONFIG, mask_ratio=0.5)
    )
    assert found.provenance["scenes"]["left_out"] == 2
    assert [name for name, _ in found.provenance["scenes"]["why"]] == ["n", "n"]


@pytest.mark.parametrize(
    ("shape", "said"),
    [({"patch_size": 5}, "patch_size"), ({"num_heads": 5}, "num_heads"), ({"depth": 900}, "depth")],
)
def test_a_shape_that_cannot_be_is_refused_before_any_pixel_is_read(
    make_scene, monkeypatch, shape, said
):
    monkeypatch.setattr("geofm.train.pretrain.measure_statistics", lambda *_a, **_k: 1 / 0)
    config = replace(CONFIG, encoder=replace(SHAPE, **shape))
    with pytest.raises((ModelError, ConfigError), match=said):
        pretrain_encoder([open_scene(make_scene("s.tif"))], config)


def test_an_encoder_that_training_goes_on_from_keeps_its_shape(make_scene):
    scene = open_scene(make_scene("s.tif"))
    first = pretrain_encoder([scene], CONFIG)
    unsaid = pretrain_encoder([scene], replace(CONFIG, encoder=EncoderShape()), encoder=first)
    assert unsaid.provenance["config"]["encoder"] == first.provenance["config"]["encoder"]
    assert unsaid.provenance["config"]["encoder"]["depth"] == 1
    for other, found in (("depth", 1), ("image_size", 16)):
        config = replace(CONFIG, encoder=replace(SHAPE, **{other: 32}))
        with pytest.raises(ConfigError, match=f"{other} is 32; encoder, which .* has {found};"):
            pretrain_encoder([scene], config, encoder=first)


@pytest.mark.parametrize(("name", "lacks"), [("time", "a date"), ("location", "a CRS")])
def test_coordinates_that_no_scene_tells_are_refused(make_scene, name, lacks):
    scene = open_scene(make_scene("nowhere.tif", crs=None), ground_size=10)
    scene = replace(scene, dates=(None,))
    config = replace(CONFIG, encoder=replace(SHAPE, coordinates=(name,)))
    with pytest.raises(ConfigError, match=f"hold {name}, and none of 1 scenes has {lacks}"):
        pretrain_encoder([scene], config)


def test_a_quality_class_that_is_none_is_refused():
    with pytest.raises(SceneError, match="unknown quality class 'clod'; known: .*cloud"):
        replace(CONFIG, masked_qa=("clod",))


def test_it_can_be_watched(make_scene):
    seen = []
    scene = open_scene(make_scene("w.tif"))
    watched = pretrain_encoder(
        [scene],
        CONFIG,
        watch=lambda step, mae, *_: seen.append((step, mae.training)),
        watch_every=3,
    )
    assert seen == [(3, False), (4, False)]
    assert same(weights(watched), weights(pretrain_encoder([scene], CONFIG)))


def test_a_mask_that_leaves_nothing_to_see_is_refused(make_scene):
    scene = open_scene(make_scene("s.tif"))
    with pytest.raises(ConfigError, match="mask_ratio 0.99 leaves none of 16 patches to see"):
        pretrain_encoder([scene], replace(CONFIG, mask_ratio=0.99))
