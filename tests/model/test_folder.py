import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from geofm.contract import PixelContract
from geofm.errors import GeofmError, ModelError, OutputError
from geofm.model import folder
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import (
    PretrainedEncoder,
    TrainedModel,
    load_encoder_folder,
    load_model_folder,
    read_description,
    read_provenance,
    save_encoder,
    save_model,
)
from geofm.model.heads import HeadConfig
from geofm.model.segmenter import build_segmenter
from geofm.model.weights import file_sha256
from geofm.tasks import MapClass

FILES = ["README.md", "footprint.svg", "model.json", "stac-item.json", "weights.safetensors"]


@pytest.fixture
def saved(model: TrainedModel, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "flood.geofm")
    return tmp_path / "flood.geofm"


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change model.json as a person would, by hand."""
    description = json.loads((path / "model.json").read_text())
    change(description)
    (path / "model.json").write_text(json.dumps(description))


def reweigh(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights and own up to it in the hash."""
    tensors = load_file(path / "weights.safetensors")
    change(tensors)
    save_file(tensors, path / "weights.safetensors")
    edit(path, lambda d: d["weights"].update(sha256=file_sha256(path / "weights.safetensors")))


# -- what goes in comes out


def test_a_model_comes_back_as_it_went(model: TrainedModel, saved: Path) -> None:
    assert names(saved) == FILES
    torch.manual_seed(1)  # nothing random may be left
    loaded = load_model_folder(saved)
    x = torch.randn(2, 1, 6, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded.segmenter(x), model.segmenter(x))
    assert not loaded.segmenter.training
    for part in ("contract", "classes", "task", "name", "provenance"):
        assert getattr(loaded, part) == getattr(model, part)
    assert loaded.segmenter.encoder.config == model.segmenter.encoder.config
    assert loaded.segmenter.head_config == model.segmenter.head_config
    assert loaded.sha256 == file_sha256(saved / "weights.safetensors")
    assert str(loaded.report) == "43 of 43 tensors from the file (100%)"


def test_the_same_model_has_the_same_bytes(model: TrainedModel, saved: Path) -> None:
    again = saved.parent / "again.geofm"
    assert save_model(load_model_folder(saved), again).sha256 == file_sha256(
        saved / "weights.safetensors"
    )
    assert contents(again) == contents(saved)


def test_an_encoder_comes_back_as_it_went(encoder: PretrainedEncoder, tmp_path: Path) -> None:
    sha256 = save_encoder(encoder, tmp_path / "encoder.geofm").sha256
    loaded = load_encoder_folder(tmp_path / "encoder.geofm")
    x = torch.randn(1, 1, 6, 32, 32)
    assert torch.equal(loaded.encoder(x), encoder.encoder(x))
    assert (loaded.sha256, loaded.contract, loaded.name) == (
        sha256,
        encoder.contract,
        encoder.name,
    )


def test_half_precision_weights_are_kept_as_float32(model: TrainedModel, tmp_path: Path) -> None:
    model.segmenter.to(torch.bfloat16)
    save_model(model, tmp_path / "m.geofm")
    loaded = load_model_folder(tmp_path / "m.geofm").segmenter
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.segmenter.state_dict()[name].float())


def test_a_description_is_read_without_weights(saved: Path) -> None:
    (saved / "weights.safetensors").unlink()
    assert read_description(saved).name == "Havel water"


def test_provenance_is_read_without_weights(
    encoder: PretrainedEncoder, saved: Path, tmp_path: Path
) -> None:
    whole = load_model_folder(saved).provenance
    (saved / "weights.safetensors").unlink()
    assert read_provenance(saved) == whole
    save_encoder(encoder, tmp_path / "encoder.geofm")
    with pytest.raises(ModelError, match="an encoder without a head"):
        read_provenance(tmp_path / "encoder.geofm")


def test_everyone_who_may_read_the_card_may_read_the_weights(saved: Path) -> None:
    modes = {(saved / name).stat().st_mode for name in FILES}
    assert len(modes) == 1


# -- whole or absent


@pytest.mark.parametrize("part", ["write_weights", "model_card", "stac_item", "_publish"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_what_was_there(
    model: TrainedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    overwrite: bool,
) -> None:
    path = tmp_path / "flood.geofm"
    if overwrite:
        save_model(model, path)
        before = contents(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, part, full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        save_model(replace(model, name="other"), path, overwrite=overwrite)
    assert names(tmp_path) == (["flood.geofm"] if overwrite else [])
    if overwrite:
        assert contents(path) == before


def test_a_failed_exchange_puts_the_old_folder_back(
    model: TrainedModel, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved)
    rename = Path.rename

    def fails_for_the_new(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    with pytest.raises(OutputError, match="Input/output error"):
        save_model(replace(model, name="other"), saved, overwrite=True)
    assert contents(saved) == before
    assert names(saved.parent) == ["flood.geofm"]


def test_an_existing_folder_is_replaced_only_when_asked(model: TrainedModel, saved: Path) -> None:
    other = replace(model, name="other")
    with pytest.raises(OutputError, match="exists; choose another path or give --overwrite"):
        save_model(other, saved)
    save_model(other, saved, overwrite=True)
    assert load_model_folder(saved).name == "other"
    assert names(saved.parent) == ["flood.geofm"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_model_folder_is_never_replaced(
    model: TrainedModel, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "thesis"
    if kind == "file":
        path.write_text("years of work")
    else:
        path.mkdir()
        (path / "chapter").write_text("years of work")
    with pytest.raises(OutputError, match="is no model folder, so it is not replaced"):
        save_model(model, path, overwrite=True)
    assert path.exists()


def test_a_place_that_cannot_be_written(model: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(model, tmp_path / "file" / "flood.geofm")


# -- what must not be saved


def test_diverged_weights_are_not_saved(model: TrainedModel, tmp_path: Path) -> None:
    with torch.no_grad():
        model.segmenter.encoder.norm.weight[3] = torch.nan
    with pytest.raises(ModelError, match=r"NaN or infinity in encoder.norm.weight; .* lower"):
        save_model(model, tmp_path / "m.geofm")
    assert not names(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two\nlines"}, "cannot be saved: name is 'two"),
        ({"provenance": {"when": object()}}, "object is not JSON serializable"),
        ({"provenance": {"loss": float("nan")}}, "provenance holds NaN or infinity"),
        ({"provenance": {"licences": "MIT"}}, "provenance.licences is 'MIT'; input should be"),
        (
            {"provenance": {"training_footprint": {"type": "Point", "coordinates": [1, 2]}}},
            "provenance.training_footprint is .*; input tag 'Point'",
        ),
        (
            {
                "provenance": {
                    "training_footprint": {
                        "type": "Polygon",
                        "coordinates": [[[52, 130], [52, 13], [53, 13], [52, 130]]],
                    }
                }
            },
            r"training_footprint.Polygon.coordinates.0.0.1 is 130; input should be less than",
        ),
        (
            {"provenance": {"training_footprint": {"type": "MultiPolygon", "coordinates": []}}},
            "training_footprint.MultiPolygon.coordinates is .*; tuple should have at least 1",
        ),
        ({"classes": ()}, "no classes are named"),
        ({"classes": (MapClass("all", "#000000"),)}, "1 classes; a map holds 2 to 253"),
    ],
)
def test_what_cannot_be_described_is_not_saved(
    model: TrainedModel, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeofmError, match=message):
        save_model(replace(model, **change), tmp_path / "m.geofm")
    assert not names(tmp_path)


def test_a_contract_of_unknown_level_is_not_saved(
    model: TrainedModel, contract: PixelContract, tmp_path: Path
) -> None:
    unknown = replace(contract, level="unknown")
    with pytest.raises(ModelError, match=r"contract.level is 'unknown'; input should be 'toa'"):
        save_model(replace(model, contract=unknown), tmp_path / "m.geofm")


# -- what must not be loaded


def refuse(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model_folder(path)
    assert "\n" not in str(caught.value)


def test_one_flipped_bit(saved: Path) -> None:
    weights = bytearray((saved / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (saved / "weights.safetensors").write_bytes(weights)
    refuse(saved, "is damaged: its SHA-256 is not the one in model.json; fetch the model again")


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"II*\x00 a picture",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 8) + b"not json",
        struct.pack("<Q", 61)
        + b'{"a":{"dtype":"F32","shape":[999999999999],"data_offsets":[0,4]}}',
    ],
)
def test_no_weights_file(saved: Path, weights: bytes) -> None:
    (saved / "weights.safetensors").write_bytes(weights)
    refuse(saved, "is no whole safetensors file .*; fetch the model again")


def test_a_download_that_stopped_early(saved: Path) -> None:
    weights = (saved / "weights.safetensors").read_bytes()
    (saved / "weights.safetensors").write_bytes(weights[:-100])
    refuse(saved, "is no whole safetensors file")


def test_no_weights_at_all(saved: Path) -> None:
    (saved / "weights.safetensors").unlink()
    refuse(saved, "has no weights.safetensors; fetch the model again, whole")


def test_a_missing_tensor_is_named(saved: Path) -> None:
    reweigh(saved, lambda tensors: tensors.pop("encoder.blocks.1.attn.qkv.weight"))
    refuse(saved, "lacks encoder.blocks.1.attn.qkv.weight of 43 tensors")


def test_missing_tensors_are_counted(saved: Path) -> None:
    reweigh(saved, lambda t: [t.pop(name) for name in list(t) if name.startswith("head.")])
    refuse(saved, "lacks head.context.bias and 13 more of 43 tensors")


def test_an_extra_tensor_is_named(saved: Path) -> None:
    reweigh(saved, lambda tensors: tensors.update(extra=torch.zeros(1)))
    refuse(saved, "has extra that its model.json does not know")


def test_a_misshapen_tensor_is_named(saved: Path) -> None:
    reweigh(saved, lambda tensors: tensors.update({"encoder.norm.bias": torch.zeros(31)}))
    refuse(saved, r"encoder.norm.bias is F32 \[31\]; its model.json needs F32 \[32\]")


def test_a_tensor_of_another_type_is_named(saved: Path) -> None:
    reweigh(saved, lambda t: t.update({"encoder.norm.bias": torch.zeros(32, dtype=torch.int32)}))
    refuse(saved, r"encoder.norm.bias is I32 \[32\]")


def test_a_claim_of_a_giant_is_refused_before_it_is_built(saved: Path) -> None:
    giant = {"embed_dim": 8192, "depth": 64, "num_heads": 64, "mlp_ratio": 16.0}
    edit(saved, lambda d: d["architecture"]["encoder"].update(giant))
    before = psutil.Process().memory_info().rss
    refuse(saved, "lacks encoder.blocks.10.attn.proj.bias and")
    assert psutil.Process().memory_info().rss - before < 500 * 2**20


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "absurd width": (
        lambda d: d["architecture"]["encoder"].update(embed_dim=10**15),
        "embed_dim is 1000000000000000; it can be 1 to 8,192",
    ),
    "absurd depth": (
        lambda d: d["architecture"]["encoder"].update(depth=10**9),
        "depth is 1000000000; it can be 1 to 256",
    ),
    "newer version": (
        lambda d: d.update(schema_version=2),
        "schema version 2; this geofm reads 1; install a newer geofm",
    ),
    "no version": (lambda d: d.pop("schema_version"), "has no schema_version"),
    "other kind": (lambda d: d.update(kind="oracle"), "describes a 'oracle'; this geofm knows"),
    "missing field": (lambda d: d.pop("classes"), "classes is missing; the file was changed"),
    "unknown field": (lambda d: d.update(colour=1), "colour is an unknown field"),
    "unknown field below": (
        lambda d: d["contract"].update(units="dn"),
        "contract.units is an unknown field",
    ),
    "text for a number": (
        lambda d: d["architecture"]["encoder"].update(depth="2"),
        "architecture.encoder.depth is '2'; input should be a valid integer",
    ),
    "NaN deviation": (
        lambda d: d["contract"]["std"].__setitem__(2, float("nan")),
        "contract.std.2 is nan; input should be",
    ),
    "no deviation": (
        lambda d: d["contract"]["std"].__setitem__(0, 0.0),
        "contract.std.0 is 0.0; input should be greater than 0",
    ),
    "infinite mean": (
        lambda d: d["contract"]["mean"].__setitem__(0, float("inf")),
        "contract.mean.0 is inf; input should be a finite number",
    ),
    "unknown band": (
        lambda d: d["contract"]["bands"].__setitem__(3, "nir8"),
        "pixel contract: unknown band 'nir8'; did you mean nir08",
    ),
    "bands against encoder": (
        lambda d: d["architecture"]["encoder"].update(bands=5),
        "the pixel contract has 6 bands, the encoder 5",
    ),
    "dates against encoder": (
        lambda d: d["contract"].update(dates=2),
        "the pixel contract has 2 dates, the encoder 1",
    ),
    "classes against head": (
        lambda d: d["classes"].append({"name": "ice", "color": "#ffffff"}),
        "there are 3 classes, the head has 2",
    ),
    "class twice": (
        lambda d: d["classes"][1].update(name="not water"),
        "class names stand twice",
    ),
    "colour": (
        lambda d: d["classes"][1].update(color="blue"),
        "classes.1.color is 'blue'; string should match",
    ),
    "hash": (lambda d: d["weights"].update(sha256="0"), "weights.sha256 is '0'"),
    "path in the weights": (
        lambda d: d["weights"].update(file="../../secret"),
        "weights.file is '../../secret'",
    ),
    "head beyond encoder": (
        lambda d: d["architecture"]["head"].update(depths=[0, 5]),
        "head reads block 5; the encoder has blocks 0 to 1",
    ),
    "two faults": (lambda d: (d.pop("task"), d.pop("name")), r"is missing \(and 1 more\)"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_damaged_description(saved: Path, name: str) -> None:
    change, message = EDITS[name]
    edit(saved, change)
    refuse(saved, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "model.json is not JSON .* fetch the model again"),
        (b"{", "model.json is not JSON"),
        (b"\xff\xfe\x00", "model.json is not JSON"),
        (b"[" * 100_000, "model.json is not JSON"),
        (b"[1]", "has no schema_version; it is not of geofm's model folders"),
        (b'{"schema_version": 1%s}' % (b"0" * 5000), "model.json is not JSON"),
    ],
)
def test_a_description_that_is_none(saved: Path, text: bytes, message: str) -> None:
    (saved / "model.json").write_bytes(text)
    refuse(saved, message)


def test_a_huge_description_is_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_DESCRIPTION_BYTES", 100)
    refuse(saved, "bytes; a description has at most 100")


def test_what_is_no_model_folder(saved: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "absent", "absent does not exist; give the path of a model folder")
    refuse(saved / "README.md", "README.md is a file; give the model folder")
    refuse(tmp_path, r"has no model.json; it is not a model folder")
    pickle = tmp_path / "Prithvi.PT"
    pickle.write_bytes(b"\x80\x04N.")
    refuse(pickle, "is a pickle, which can run any code when opened; .* geofm import")
    refuse(tmp_path, "has no model.json but a pickle, Prithvi.PT, .* geofm import")


def test_encoders_and_models_are_not_mixed_up(
    encoder: PretrainedEncoder, saved: Path, tmp_path: Path
) -> None:
    save_encoder(encoder, tmp_path / "encoder.geofm")
    refuse(tmp_path / "encoder.geofm", "is an encoder without a head .* geofm finetune")
    with pytest.raises(ModelError, match="is a whole model, not an encoder"):
        load_encoder_folder(saved)


def test_a_folder_moves_with_its_name(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved, tmp_path / "elsewhere")
    assert load_model_folder(tmp_path / "elsewhere").name == "Havel water"


@pytest.mark.parametrize("dates", [1, 3])
@pytest.mark.parametrize("kind", ["linear", "fcn"])
def test_every_shape_of_model_comes_back(
    model: TrainedModel, contract: PixelContract, tmp_path: Path, dates: int, kind: Any
) -> None:
    config = EncoderConfig(
        bands=6, dates=dates, image_size=14, patch_size=7, embed_dim=16, depth=1, num_heads=1
    )
    segmenter = build_segmenter(config, HeadConfig(kind=kind, classes=2, depths=(0,)))
    saved = replace(model, segmenter=segmenter, contract=replace(contract, dates=dates))
    save_model(saved, tmp_path / "m.geofm")
    loaded = load_model_folder(tmp_path / "m.geofm").segmenter
    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert isinstance(loaded.encoder, Encoder)
