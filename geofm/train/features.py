"""Features of a frozen encoder, computed once for each window and kept.

With an encoder that does not learn, a head alone is trained, in seconds, as
soon as the features of its windows are there; and a map made again after a
correction computes its head alone. What is kept is found by what was seen: the
very numbers of a window, the encoder's weights, and all that decides the last
bit of a feature. So kept features are those that would be computed, and a map
has the same bytes with them and without.
"""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geofm.errors import OutputError
from geofm.model.coordinates import Coordinates
from geofm.model.encoder import Encoder

GIB = 2**30
Array = npt.NDArray[np.generic]


class RememberingEncoder(Encoder):
    """An encoder that does not learn, and keeps its feature maps in a folder.

    Its weights, and so the model folder that they are saved in, are those of the
    plain encoder.

    Args:
        encoder: whose weights it shares.
        folder: for one file a window, ``.npy``; several runs may share it.
        limit: bytes that the folder may hold; the oldest files give way.
    """

    def __init__(self, encoder: Encoder, folder: Path, *, limit: int = 4 * GIB) -> None:
        with torch.device("meta"):
            super().__init__(encoder.config)
        self.load_state_dict(encoder.state_dict(), strict=True, assign=True)
        self.train(encoder.training)
        self._shelf = _Shelf(Path(folder), limit)
        self._digest = _digest_of(encoder)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def feature_tokens(
        self, x: Tensor, depths: Sequence[int], coordinates: Coordinates | None = None
    ) -> list[Tensor]:
        """As `Encoder.feature_tokens`, without a gradient."""
        # Tokens and not maps: a map is a view of them, and a copy of it with other
        # strides takes other ways through a head, to other last bits.
        keys = _keys(x, coordinates, self._how(x, depths))
        kept = [self._shelf.find(key) for key in keys]
        if all(tokens is not None for tokens in kept):
            found = np.stack([tokens for tokens in kept if tokens is not None], axis=1)
            return [_as_tensor(tokens).to(x.device) for tokens in found]
        # The whole batch, since its size decides the last bits.
        computed = super().feature_tokens(x, depths, coordinates)
        stored = np.stack([_as_array(tokens) for tokens in computed], axis=1)
        for key, have, tokens in zip(keys, kept, stored, strict=True):
            if have is None:
                self._shelf.keep(key, tokens)
        return computed

    def _how(self, x: Tensor, depths: Sequence[int]) -> str:
        """What decides the bits of a feature, beside the window itself."""
        device = x.device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        hardware = (
            torch.cuda.get_device_name(x.device)
            if device == "cuda"
            else (torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
        )
        batch = (tuple(depths), tuple(x.shape), x.dtype)
        machine = (device, hardware, cast, torch.__version__)
        return repr((self._digest, self.config, batch, machine))


def _digest_of(encoder: Encoder) -> str:
    """A hash of all weights."""
    digest = blake2b(digest_size=16)
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _keys(x: Tensor, coordinates: Coordinates | None, how: str) -> list[str]:
    """A name for each window of a batch (B, T, C, H, W)."""
    told = [] if coordinates is None else [part for part in coordinates if part is not None]
    parts = [part.detach().cpu().contiguous().numpy() for part in (x, *told)]
    keys = []
    for at in range(len(x)):
        digest = blake2b(how.encode(), digest_size=16)
        for part in parts:
            digest.update(repr(part[at].shape).encode())
            digest.update(part[at].data)
        keys.append(digest.hexdigest())
    return keys


def _as_array(maps: Tensor) -> Array:
    """Numbers as numpy holds them: bfloat16, which it lacks, as its bits."""
    maps = maps.detach().cpu().contiguous()
    bits = maps.view(torch.uint16) if maps.dtype == torch.bfloat16 else maps
    return bits.numpy()


def _as_tensor(stored: Array) -> Tensor:
    tensor = torch.from_numpy(stored)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


class _Shelf:
    """Arrays by name in a folder, written whole or not at all, up to a limit in bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._held: dict[Path, int] | None = None
        self._bytes = 0

    def find(self, key: str) -> Array | None:
        """The array of this name, mapped into memory; None where it is not there whole."""
        try:
            found: Array = np.load(self._path(key), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def keep(self, key: str, array: Array) -> None:
        """Write an array; the oldest make room for it.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = self._path(key)
        partial = path.with_name(f".{uuid4().hex}.partial")
        try:
            held = self._files()
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            size = partial.stat().st_size
            while held and self._bytes + size > self.limit:
                oldest = next(iter(held))
                oldest.unlink(missing_ok=True)
                self._bytes -= held.pop(oldest)
            partial.replace(path)
            held[path] = size
            self._bytes += size
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise OutputError(
                f"features cannot be kept in {self.folder}: {error.strerror or error}; "
                "choose another folder (features=)"
            ) from error

    def _path(self, key: str) -> Path:
        # A folder of ten thousand files is slow to list.
        return self.folder / key[:2] / f"{key}.npy"

    def _files(self) -> dict[Path, int]:
        """What the folder holds, the oldest first, with sizes; listed once."""
        if self._held is None:
            found = [(path, path.stat()) for path in self.folder.glob("??/*.npy")]
            found.sort(key=lambda file: file[1].st_mtime_ns)
            self._held = {path: state.st_size for path, state in found}
            self._bytes = sum(self._held.values())
        return self._held
