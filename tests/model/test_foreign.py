"""Files of other programs: their tensors are read, and nothing else in them happens."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from geofm.errors import ModelError
from geofm.model.foreign import Inert, read_foreign

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


class Callback:
    """As Lightning and mmcv pickle them: by name, with a state."""

    def __init__(self) -> None:
        self.best = {"score": 0.5}


class Config(dict[str, Any]):
    """As mmcv pickles its configs."""


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class Late:
    """Asks for a method of what it made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.path, "mkdir")


def same(path: Path) -> None:
    found = read_foreign(path)
    assert found.tensors.keys() == STATE.keys()
    assert all(torch.equal(found.tensors[name], STATE[name]) for name in STATE)
    assert len(found.sha256) == 64


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE},
        {"model": STATE, "epoch": 3},
        {"state_dict": STATE, "hyper_parameters": argparse.Namespace(lr=0.1)},
        {"state_dict": STATE, "callbacks": {"x": Callback()}, "loops": [Callback()]},
        {"meta": Config(a=1), "state_dict": STATE, "optimizer": {"state": {}}},
        {"state_dict": {k: torch.nn.Parameter(v.float()) for k, v in STATE.items()}},
    ],
    ids=["plain", "nested", "model", "namespace", "lightning", "mmcv", "parameters"],
)
def test_tensors_are_found_in_any_file(content: object, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    same(path)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")
    same(tmp_path / "x.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("attack", [Attack, Late])
def test_nothing_is_run(attack: Any, zipped: bool, tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "was_here"
    content = {"state_dict": STATE, "extra": attack(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    same(path)
    assert not target.exists()
    torch.save({"w": attack(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="'w' is no tensor"):
        read_foreign(path)
    assert not target.exists()


def test_a_bare_pickle_is_no_weights_file(tmp_path: Path) -> None:
    path, target = tmp_path / "bare.pth", tmp_path / "was_here"
    path.write_bytes(pickle.dumps(Attack(target)))
    with pytest.raises(ModelError, match=r"bare\.pth"):
        read_foreign(path)
    assert not target.exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(ModelError, match="holds no state dict"):
        read_foreign(tmp_path / "x.pt")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(ModelError, match="TorchScript program"):
        read_foreign(path)


def test_an_archive_that_unpacks_to_more_than_it_weighs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/9", bytes(10**6))
    with pytest.raises(ModelError, match="would unpack to"):
        read_foreign(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(share: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"x\.pt"):
        read_foreign(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        read_foreign(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_foreign(tmp_path / "x.safetensors")


def test_a_stub_takes_anything() -> None:
    stub = Inert(1, a=2)
    stub.append(1)
    stub.extend([1])
    stub.add(1)
    stub["a"] = 1
    assert isinstance(stub(3), Inert)
