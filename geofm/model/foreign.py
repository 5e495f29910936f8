"""Weights files of other programs: tensors in, and nothing that they ask to run.

A ``.pt``, ``.pth`` or ``.ckpt`` is a pickle, and a pickle is a program. torch's
own weights-only reader comes first. Files of mmcv and Lightning hold other
objects beside their tensors, which it refuses; then a reader of ours puts an
inert stub in place of everything but tensors and plain containers.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.weights import LoadReport, file_sha256

# Where a checkpoint keeps its state dict, if that is not the whole of it.
_NESTED = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """The tensors of a file, by the names that they have there.

    Attributes:
        sha256: of the whole file.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    sha256: str


def read_foreign(path: Path) -> ForeignFile:
    """Read the state dict of a file, wherever it stands in it.

    Large tensors stay on the disk until they are used.

    Raises:
        ModelError: there is no such file, it is damaged, or holds no state dict.
    """
    if not path.is_file():
        raise ModelError(f"{path} is not a file; give the path of a weights file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"{path} holds no state dict (names to tensors); save it again as "
            "torch.save(model.state_dict(), PATH)"
        )
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{path}: {str(name)[:60]!r} is no tensor; a state dict holds nothing else; save "
                "it again as torch.save(model.state_dict(), PATH)"
            )
    return ForeignFile(path, {str(k): v.detach() for k, v in content.items()}, file_sha256(path))


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], *, where: str, note: str = ""
) -> LoadReport:
    """Fill a module built on the meta device with exactly these tensors.

    Args:
        where: what to call their file in errors.
        note: what the report should say beside the count.

    Raises:
        ModelError: a tensor is missing, is none of the module's, or has another shape.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    check_tensors(tensors, wanted, where=where)
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    module.load_state_dict(floats, strict=True, assign=True)
    module.eval()
    return LoadReport(loaded=len(wanted), total=len(wanted), note=note)


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """Hold the names and shapes of tensors against those that are needed.

    Raises:
        ModelError: they differ; it names the first that does.
    """
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        known = f", and has {_listed(extra)} that it should not" if extra else ""
        raise ModelError(
            f"{where} lacks {_listed(missing)} of {len(wanted)} tensors{known}; an incomplete "
            "model is not used; fetch the file again, or say which model it is"
        )
    if extra:
        raise ModelError(
            f"{where} has {_listed(extra)} beside the {len(wanted)} tensors needed; "
            "say which model it is"
        )
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise ModelError(
                f"{where}: {name} is {list(found[name].shape)}; needed {list(shape)}; "
                "say which model it is"
            )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no whole safetensors file ({error}); fetch it again"
        ) from error


def _read_pickle(path: Path) -> object:
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            _check_archive(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError:
            return torch.load(  # everything but tensors becomes inert
                path, map_location="cpu", weights_only=False, pickle_module=_INERT, mmap=zipped
            )
    except ModelError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise ModelError(
            f"{path} is no whole weights file of torch ({said}); fetch it again"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that is code, or that unpacks to more than it weighs."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ModelError(
            f"{path} is a TorchScript program, not weights; save its state dict instead: "
            "torch.save(model.state_dict(), PATH)"
        )
    size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise ModelError(
            f"{path} has {size:,} bytes and would unpack to {unpacked:,}; torch compresses "
            "nothing, so the file was changed; fetch it again"
        )


class Inert:
    """Stands where a foreign object stood: takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *_args: object, **_named: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None: ...

    def __call__(self, *_args: object, **_named: object) -> "Inert":
        return Inert()

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    def append(self, _value: object) -> None: ...

    def extend(self, _values: object) -> None: ...

    def add(self, _value: object) -> None: ...


# All that a pickle may name; whatever else it names is `Inert`.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # noqa: SLF001
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # noqa: SLF001
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), Inert)


def _load(file: Any, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


# torch takes the unpickler from a module.
_INERT = ModuleType("inert")
_INERT.Unpickler = _InertUnpickler  # type: ignore[attr-defined]
_INERT.load = _load  # type: ignore[attr-defined]
