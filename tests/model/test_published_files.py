"""Every published file loads completely, at full size, or says what is wrong with it.

Tensors here are views of one number: their shapes are the real ones, their size is not.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geofm.errors import BandError, ModelError
from geofm.model.coordinates import Coordinates
from geofm.model.finetuned import ImportOptions, import_finetuned
from geofm.model.prithvi import (
    Adaptation,
    find_encoder,
    load_prithvi,
    load_prithvi_mae,
    published_tensors,
)
from geofm.model.published import ENCODERS, MODELS

PUBLISHED = {
    "prithvi_eo_v1_100": "prithvi-eo-1.0-100m",
    "prithvi_eo_v1_100_flat": "prithvi-eo-1.0-100m",
    "prithvi_eo_v2_tiny_tl": "prithvi-eo-2.0-tiny-tl",
    "prithvi_eo_v2_100_tl": "prithvi-eo-2.0-100m-tl",
    "prithvi_eo_v2_300": "prithvi-eo-2.0-300m",
    "prithvi_eo_v2_300_tl": "prithvi-eo-2.0-300m-tl",
    "prithvi_eo_v2_600": "prithvi-eo-2.0-600m",
    "prithvi_eo_v2_600_tl": "prithvi-eo-2.0-600m-tl",
}
FINETUNED = {
    "ft_mmseg_v1_sen1floods11": "prithvi-eo-1.0-100m-sen1floods11",
    "ft_mmseg_v1_burnscars": "prithvi-eo-1.0-100m-burn-scar",
    "ft_mmseg_v1_multitemporal_crop": "prithvi-eo-1.0-100m-multi-temporal-crop-classification",
    "ft_sen1floods11_v2_300_tl": "prithvi-eo-2.0-300m-tl-sen1floods11",
    "ft_burnscars_v2_300": "prithvi-eo-2.0-300m-burnscars",
}


def key_list(reference: Path, name: str) -> dict[str, Any]:
    return json.loads((reference / "prithvi_keys" / f"{name}.json").read_text())


def weightless(listed: dict[str, Any]) -> dict[str, Tensor]:
    return {
        key: torch.zeros((), dtype=getattr(torch, facts["dtype"])).expand(facts["shape"])
        for key, facts in listed["keys"].items()
    }


def tiny(**changes: Tensor | None) -> dict[str, Tensor]:
    """Random numbers under the names of the smallest published encoder."""
    published = find_encoder("prithvi-eo-2.0-tiny-tl")
    assert published is not None
    draw = torch.Generator().manual_seed(5)
    state = {
        name: torch.randn(shape, generator=draw) * 0.02
        for name, shape in published_tensors(published).items()
    }
    for name, tensor in changes.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return state


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


SLOWER = {
    "prithvi_eo_v1_100_flat",
    "prithvi_eo_v2_100_tl",
    "prithvi_eo_v2_300",
    "prithvi_eo_v2_600",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOWER else ()) for n in PUBLISHED]
)
def test_encoders_and_autoencoders_load_completely(
    name: str, shared_reference: Path, tmp_path: Path
) -> None:
    listed = key_list(shared_reference, name)
    path = saved(tmp_path / "weights.pt", weightless(listed))
    encoder, mae = load_prithvi(path), load_prithvi_mae(path)
    assert encoder.name == PUBLISHED[name]
    assert encoder.report is not None
    assert encoder.report.share == 1
    # All but the two position tables, which are computed.
    assert len(mae.state_dict()) == len(listed["keys"]) - 2
    assert not any(t.is_meta for module in (mae, encoder.encoder) for t in module.buffers())
    assert not any(p.is_meta or p.any() for p in encoder.encoder.parameters() if p.numel() < 1e6)
    known = find_encoder(PUBLISHED[name])
    assert known is not None
    assert (
        sum(p.numel() for p in mae.parameters())
        == {
            "prithvi-eo-1.0-100m": 112_639_488,
            "prithvi-eo-2.0-tiny-tl": 31_741_444,
            "prithvi-eo-2.0-100m-tl": 112_639_492,
            "prithvi-eo-2.0-300m": 330_419_712,
            "prithvi-eo-2.0-300m-tl": 330_419_716,
            "prithvi-eo-2.0-600m": 657_668_248,
            "prithvi-eo-2.0-600m-tl": 657_668_252,
        }[known.name]
    )


@pytest.mark.parametrize("name", FINETUNED)
def test_finetuned_models_load_completely(
    name: str, shared_reference: Path, tmp_path: Path
) -> None:
    listed = key_list(shared_reference, name)
    known = next(m for m in MODELS if m.name == FINETUNED[name])
    path = saved(tmp_path / known.file, {"state_dict": weightless(listed)})
    model = import_finetuned(path)
    assert (model.name, model.task, model.provenance["licences"]) == (
        known.name,
        known.task.name,
        ["apache-2.0"],
    )
    assert model.report is not None
    assert model.report.share == 1
    assert len(model.classes) == known.head.classes
    ours = sum(p.numel() for p in model.segmenter.parameters())
    helpers = sum(
        t.numel()
        for key, t in weightless(listed).items()
        # mmseg counts the position table among the parameters.
        if ("auxiliary" in key or (known.layout == "mmseg" and "pos_embed" in key))
        and "running" not in key
        and "tracked" not in key
    )
    assert ours + helpers == listed["n_parameters"]


@pytest.mark.parametrize(
    "name",
    [
        "ft_mmseg_v1_burnscars",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (*FINETUNED, "prithvi_eo_v2_600_tl", "prithvi_eo_v1_100_flat")
            if name != "ft_mmseg_v1_burnscars"
        ),
    ],
)
def test_any_tensor_missing_extra_renamed_or_misshapen_is_named(
    name: str, shared_reference: Path, tmp_path: Path
) -> None:
    state = weightless(key_list(shared_reference, name))
    known = next((m for m in MODELS if m.name == FINETUNED.get(name)), None)

    def load(content: dict[str, Tensor]) -> None:
        path = tmp_path / "w.pt"
        saved(path, {"state_dict": content})
        if known:
            import_finetuned(path, ImportOptions(published=known.name))
        else:
            load_prithvi_mae(path)

    load(state)
    picked = torch.Generator().manual_seed(0)
    for at in torch.randperm(len(state), generator=picked)[:3].tolist():
        key = list(state)[at]
        last = ".".join(key.split(".")[-2:])
        rest = {k: v for k, v in state.items() if k != key}
        with pytest.raises(ModelError, match="lacks .*incomplete") as missing:
            load(rest)
        assert last.split(".")[-1] in str(missing.value)
        with pytest.raises(ModelError, match="lacks .*renamed.*|has .*renamed.*"):
            load(rest | {f"{key}.renamed": state[key]})
        with pytest.raises(ModelError, match="extra_tensor"):
            load(state | {"extra_tensor": torch.zeros(1)})
        with pytest.raises(ModelError, match=r"needed \["):
            load(rest | {key: torch.zeros((*state[key].shape, 2)[-3:])})


def test_all_layouts_of_a_file_are_one_encoder(tmp_path: Path) -> None:
    state = tiny()
    flat = {key.partition(".")[2]: value for key, value in state.items()}
    layouts = {
        "plain": state,
        "flat": flat,
        "nested": {"model": flat, "epoch": 3},
        "timm": {
            key.replace("encoder.", "encoder._timm_module.", 1): v for key, v in state.items()
        },
        "parallel": {f"module.{key}": v for key, v in state.items()},
        "alone": {key: v for key, v in state.items() if key.startswith("encoder.")},
        "half": {key: v.half() for key, v in state.items()},
    }
    x = torch.randn(1, 1, 6, 32, 32)
    expected = None
    for name, content in layouts.items():
        encoder = load_prithvi(saved(tmp_path / f"{name}.pt", content)).encoder
        assert not encoder.training
        with torch.inference_mode():
            found = encoder(x, Coordinates(where=torch.tensor([[47.3, 8.5]])))
        if name == "half":
            continue
        expected = found if expected is None else expected
        assert torch.equal(found, expected), name
    with pytest.raises(ModelError, match=r"lacks decoder\.|lacks .*decoder"):
        load_prithvi_mae(tmp_path / "alone.pt")


def test_bands_are_taken_and_reordered_exactly(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", tiny())
    whole = load_prithvi(path)
    some = load_prithvi(path, adapt=Adaptation(bands=("nir08", "blue")))
    x = torch.randn(2, 1, 6, 32, 32)
    x[:, :, [1, 2, 4, 5]] = 0
    with torch.inference_mode():
        expected, found = whole.encoder(x), some.encoder(x[:, :, [3, 0]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert some.contract.bands == ("nir08", "blue")
    assert some.contract.mean == (0.2734, 0.1087)
    assert some.contract.std == (0.1850, 0.2248)
    assert "bands left out: green, red, swir16, swir22" in str(some.report)
    assert "bands left out: green, red, swir16, swir22" in repr(some)
    with pytest.raises(BandError, match="rededge071"):
        load_prithvi(path, adapt=Adaptation(bands=("blue", "rededge071")))
    with pytest.raises(ModelError, match="an autoencoder takes no other bands"):
        load_prithvi_mae(path, adapt=Adaptation(bands=("blue",)))


def test_other_dates_sizes_and_eps(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", tiny())
    adapt = Adaptation(dates=3, image_size=320, positions="resized", norm_eps=1e-6)
    encoder = load_prithvi(path, adapt=adapt)
    config = encoder.encoder.config
    assert (config.dates, config.image_size, config.position_size, config.norm_eps) == (
        3,
        320,
        224,
        1e-6,
    )
    assert encoder.contract.dates == 3
    assert config.grid == (3, 20, 20)
    assert config.position_grid == (3, 14, 14)
    computed = load_prithvi(path, adapt=Adaptation(image_size=320))
    assert computed.encoder.config.position_grid == (1, 20, 20)


def test_a_config_describes_a_file_that_is_not_published(
    shared_reference: Path, tmp_path: Path
) -> None:
    listed = key_list(shared_reference, "prithvi_eo_tiny")
    path = saved(tmp_path / "w.pt", weightless(listed))
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"architecture": "prithvi_eo_tiny", "pretrained_cfg": listed["config"]})
    )
    encoder = load_prithvi(path, config=config)
    assert encoder.name == "prithvi_eo_tiny"
    assert encoder.encoder.config.depth == 4
    assert encoder.provenance["licences"] == []
    assert load_prithvi_mae(path, config=config).config.decoder_dim == 128
    with pytest.raises(ModelError, match="none of the published Prithvi encoders"):
        load_prithvi(path)
    with pytest.raises(ModelError, match="no config of a Prithvi encoder"):
        load_prithvi(path, config={"bands": []})
    landsat_names = listed["config"] | {"bands": ["B02", "B03", "B04", "B05", "B06", "B07"]}
    assert load_prithvi(path, config=landsat_names).contract.bands[3] == "nir08"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelError, match=r"does not exist.*prithvi-eo-2\.0-600m-tl"):
        load_prithvi("prithvi-eo-3.0")


def test_names_are_found_in_any_case_and_with_their_organisation() -> None:
    for known in ENCODERS:
        assert find_encoder(known.repo) is known
        assert find_encoder(known.name.upper()) is known
