"""Weights in and out of safetensors files: nothing allocated before its size is checked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from geofm.errors import ModelError


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How much of a model came from its file.

    Attributes:
        loaded: tensors taken from the file.
        total: tensors that the model has.
        note: what else there is to know, such as bands left out.
    """

    loaded: int
    total: int
    note: str = ""

    @property
    def share(self) -> float:
        """Share of the tensors, 0 to 1."""
        return self.loaded / self.total

    def __str__(self) -> str:
        text = f"{self.loaded} of {self.total} tensors from the file ({self.share:.0%})"
        return f"{text}; {self.note}" if self.note else text


def write_weights(module: nn.Module, path: Path) -> str:
    """Write a module's tensors, numbers in float32, and return the file's SHA-256.

    Raises:
        ModelError: a tensor holds NaN or infinity.
    """
    tensors = {
        # Counters (of BatchNorm) stay whole numbers.
        name: (t.float() if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in module.state_dict().items()
    }
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(
                f"the weights hold NaN or infinity in {name}; training diverged; "
                "train again with a lower learning rate"
            )
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    return file_sha256(path)


def load_weights(module: nn.Module, path: Path, *, sha256: str) -> LoadReport:
    """Fill a module built on the meta device from a file that matches it exactly.

    Names and shapes are compared in the file's header, and its hash is
    verified, before a tensor is made.

    Raises:
        ModelError: the file is damaged, or has not exactly the module's tensors.
    """
    wanted = {
        name: ("F32" if tensor.is_floating_point() else "I64", tuple(tensor.shape))
        for name, tensor in module.state_dict().items()
    }
    _check_tensors(_read_header(path), wanted, path)
    if file_sha256(path) != sha256:
        raise ModelError(
            f"{path} is damaged: its SHA-256 is not the one in model.json; fetch the model again"
        )
    module.load_state_dict(load_file(path), strict=True, assign=True)
    return LoadReport(loaded=len(wanted), total=len(wanted))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of every tensor; the library holds them against the file's length."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no whole safetensors file ({error}); fetch the model again"
        ) from error


def _check_tensors(
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    wanted: Mapping[str, tuple[str, tuple[int, ...]]],
    path: Path,
) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        raise ModelError(
            f"{path} lacks {_named(missing)} of {len(wanted)} tensors of its model; "
            "an incomplete model is not used; fetch it again"
        )
    if extra:
        raise ModelError(
            f"{path} has {_named(extra)} that its model.json does not know; fetch the model again"
        )
    for name, (dtype, shape) in wanted.items():
        if found[name] != (dtype, shape):
            kind, have = found[name]
            raise ModelError(
                f"{path}: {name} is {kind} {list(have)}; its model.json needs {dtype} "
                f"{list(shape)}; fetch the model again"
            )


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
