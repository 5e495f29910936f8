"""From somebody's weights file to a map: `geofm import`, then `geofm map`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from affine import Affine

import geofm
from geofm.cli.app import main
from geofm.errors import ModelError
from geofm.model.finetuned import ImportOptions, import_finetuned
from geofm.model.heads import HeadConfig
from geofm.model.prithvi import find_encoder, published_tensors
from geofm.model.published import MODELS
from geofm.model.segmenter import Segmenter, build_segmenter

HLS = Affine(30, 0, 300_000, 0, -30, 5_000_000)

CONFIG = """
model:
  class_path: terratorch.tasks.SemanticSegmentationTask
  init_args:
    model_factory: EncoderDecoderFactory
    class_names: [dry, wet]
    model_args:
      backbone: prithvi_eo_v2_tiny_tl
      backbone_bands: [BLUE, GREEN, RED, NIR_NARROW, SWIR_1, SWIR_2]
      necks:
        - name: SelectIndices
          indices: [2, 5, 8, 11]
        - name: ReshapeTokensToImage
        - name: LearnedInterpolateToPyramidal
      decoder: UNetDecoder
      decoder_channels: [32, 16, 8, 4]
      head_dropout: 0.1
      num_classes: 2
data:
  class_path: terratorch.datamodules.GenericNonGeoSegmentationDataModule
  init_args:
    means: [1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0]
    stds: [2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0]
"""


def tiny(head: HeadConfig) -> Segmenter:
    known = find_encoder("prithvi-eo-2.0-tiny-tl")
    assert known is not None
    torch.manual_seed(0)
    return build_segmenter(known.shape, head).eval()


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    head = HeadConfig(kind="unet", classes=2, depths=(2, 5, 8, 11), channels=4, upsample_last=False)
    return tiny(head)


def terratorch_names(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    """As a Lightning checkpoint of TerraTorch names them."""
    rules = (
        (r"^head\.pyramid\.", "neck.2."),
        (r"^head\.blocks\.", "decoder.decoder.blocks."),
        (r"^head\.logits\.", "head.head.2."),
    )
    state = {"criterion.weight": torch.ones(2), "model.encoder.pos_embed": torch.zeros(1, 197, 192)}
    for name, tensor in segmenter.state_dict().items():
        for pattern, prefix in rules:
            name = re.sub(pattern, prefix, name)  # noqa: PLW2901
        state[f"model.{name}"] = tensor
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, segmenter: Segmenter) -> Path:
    """A checkpoint with its config, and the model folder that they become."""
    folder = tmp_path_factory.mktemp("terratorch")
    torch.save(
        {"state_dict": terratorch_names(segmenter), "callbacks": {Path("x"): object()}},
        folder / "best.ckpt",
    )
    (folder / "config.yaml").write_text(CONFIG)
    words = ["import", str(folder / "best.ckpt"), "--config", str(folder / "config.yaml")]
    words += ["--level", "surface", "--resolution", "30", "--licence", "mit"]
    assert main([*words, "-o", str(folder / "mine.geofm")]) == 0
    return folder


def test_a_terratorch_checkpoint_becomes_a_model(files: Path, segmenter: Segmenter) -> None:
    model = geofm.load_model(files / "mine.geofm")
    assert model.contract.bands == ("blue", "green", "red", "nir08", "swir16", "swir22")
    assert model.contract.level == "surface"
    assert model.contract.resolution == 30
    assert model.contract.mean == pytest.approx((0.1087, 0.1342, 0.1433, 0.2734, 0.1958, 0.1363))
    assert model.contract.std == pytest.approx((0.2248, 0.2179, 0.2178, 0.1850, 0.1242, 0.1049))
    assert [kind.name for kind in model.classes] == ["dry", "wet"]
    assert model.trained.provenance["licences"] == ["mit"]
    x = torch.randn(1, 1, 6, 224, 224)
    with torch.inference_mode():
        assert torch.equal(model.trained.segmenter(x), segmenter(x))


def test_it_maps_an_hls_scene(files: Path, make_scene: Any, tmp_path: Path) -> None:
    scene = make_scene("hls.tif", height=250, width=301, transform=HLS)
    out = tmp_path / "map.tif"
    assert main(["map", str(files / "mine.geofm"), str(scene), "-o", str(out)]) == 0
    assert out.exists()
    receipt = json.loads((tmp_path / "map.json").read_text())
    assert "mine" in json.dumps(receipt) or "config" in json.dumps(receipt)


@pytest.mark.parametrize(
    ("options", "flags", "said"),
    [
        ({"level": "toa", "transform": HLS}, [], "is top-of-atmosphere.*needs surface"),
        ({"level": "unknown", "transform": HLS}, [], "--level surface"),
        ({}, [], "pixels of 10 m.*trained on 30 m.*resolution"),
        (
            {"transform": HLS, "bands": ["blue", "green", "red", "nir", "swir16", "swir22"]},
            [],
            "needs nir08 too.*--accept nir08=nir",
        ),
        ({"transform": HLS, "bands": ["blue", "green", "red"]}, [], "needs nir08, swir16, swir22"),
        ({"transform": HLS, "dates": 2}, [], "2 dates; the model needs 1 date"),
        ({"transform": HLS}, ["--scale", "1"], "reflectance"),
    ],
)
def test_it_refuses_scenes_of_another_kind_with_advice(
    options: dict[str, Any],
    flags: list[str],
    said: str,
    files: Path,
    make_scene: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = make_scene("scene.tif", **options)
    words = ["map", str(files / "mine.geofm"), str(scene), "-o", str(tmp_path / "map.tif"), *flags]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(said, error), error


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("prithvi_eo_v2_tiny_tl", "resnet50", "backbone 'resnet50'"),
        ("UNetDecoder", "ASPPHead", "decoder ASPPHead"),
        ("[32, 16, 8, 4]", "[32, 16, 8, 8]", "halve four times"),
        ("name: LearnedInterpolateToPyramidal", "name: Strange", "Strange"),
        ("    means: [1087", "    use_metadata: true\n    means: [1087", "fed time and location"),
        ("1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0", "5, 5, 5, 5, 5, 5", "means up to 5"),
        ("    means:", "    averages:", "no means and stds"),
        ("model_args", "arguments", "no TerraTorch config"),
        ("model:", "model: [", "no YAML file"),
        ("num_classes: 2", "num_classes: 3", r"head\.head\.2|logits"),
        ("BLUE, GREEN", "GREEN", "5 bands, 6 means"),
    ],
)
def test_a_config_of_another_kind_is_refused(
    old: str, new: str, said: str, files: Path, tmp_path: Path
) -> None:
    assert old in CONFIG
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace(old, new))
    options = ImportOptions(config=config, level="surface", resolution=30)
    with pytest.raises(geofm.GeofmError, match=said):
        import_finetuned(files / "best.ckpt", options)


def test_what_a_config_cannot_say_must_be_told(files: Path) -> None:
    with pytest.raises(ModelError, match="--level toa or surface, and --resolution"):
        import_finetuned(files / "best.ckpt", ImportOptions(config=files / "config.yaml"))


def test_known_data_need_no_telling(files: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = CONFIG.replace("GenericNonGeoSegmentation", "Sen1Floods11NonGeo")
    config.write_text(re.sub(r"    (means|stds):.*\n", "", text))
    model = import_finetuned(files / "best.ckpt", ImportOptions(config=config))
    assert (model.task, model.contract.level) == ("flood", "toa")
    assert model.contract.mean[0] == 0.1412956


def test_an_unknown_file_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(files / "best.ckpt"), "-o", str(tmp_path / "x.geofm")]) == 1
    error = capsys.readouterr().err
    assert "none of the published Prithvi encoders" in error
    assert "--as" in error
    assert not (tmp_path / "x.geofm").exists()
    with pytest.raises(ModelError, match=r"no published model.*burn-scar"):
        geofm.import_model(files / "best.ckpt", published="prithvi-eo-9")


def test_an_encoder_file_becomes_an_encoder_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = find_encoder("prithvi-eo-2.0-tiny-tl")
    assert known is not None
    state = {k: torch.full(shape, 0.01) for k, shape in published_tensors(known).items()}
    torch.save(state, tmp_path / known.file)
    out = tmp_path / "encoder.geofm"
    assert main(["import", str(tmp_path / known.file), "-o", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "encoder"
    assert facts["licences"] == ["apache-2.0"]
    assert len(facts["file_sha256"]) == 64
    encoder = geofm.load_encoder(out)
    assert encoder.encoder.config == known.shape
    with pytest.raises(ModelError, match="stays as it was trained"):
        geofm.load_encoder(out, dates=2)


def test_an_encoder_of_timm_needs_a_contract() -> None:
    with pytest.raises(ModelError, match=r"has seen photographs.*give contract="):
        geofm.load_encoder("timm/vit_tiny_patch16_224")


def test_published_models_keep_what_was_published() -> None:
    floods_1, burns_1, crops, floods_2, burns_2 = MODELS
    assert [m.contract.level for m in MODELS] == ["toa", "surface", "surface", "toa", "surface"]
    assert all(0 < mean < 1 for m in MODELS for mean in m.contract.mean)
    assert crops.encoder.legacy_order
    assert (crops.encoder.num_heads, crops.encoder.depth, crops.contract.dates) == (8, 6, 3)
    assert len(crops.task.classes) == 13
    assert burns_2.head.upsample_last
    assert (burns_2.encoder.image_size, burns_2.encoder.position_size) == (512, 224)
    assert burns_1.contract == burns_2.contract
    assert floods_1.contract.mean != floods_2.contract.mean
