"""Windows of stored numbers to logits, in batches of one fixed shape."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geofm.errors import ConfigError
from geofm.model.folder import TrainedModel
from geofm.predict.compiled import compiled_forward, eager_forward
from geofm.predict.plan import WindowPlan, choose_batch
from geofm.processor import bfloat16_flags
from geofm.scenes.reader import Scene
from geofm.tiles.transforms import normalise

Precision = Literal["auto", "fp32", "bf16"]

# Tokens and logits that one batch may hold. Wide enough for full matrix products,
# small enough to stay near the caches of a CPU and within the memory ceiling.
_TOKENS = {"cpu": 2**11, "cuda": 2**16}
_LOGITS = {"cpu": 2**23, "cuda": 2**28}
MAX_BATCH = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how the forward pass runs; part of a map's recipe.

    Attributes:
        name: what torch calls it, such as ``"cpu"`` or ``"cuda:0"``.
        hardware: the GPU's name, or the CPU's vector capability.
        precision: ``"fp32"`` or ``"bf16"``.
        threads: torch threads on a CPU; 0 on a GPU.
    """

    name: str
    hardware: str
    precision: str
    threads: int


def choose_device(precision: Precision, device: str | None = None) -> Device:
    """The device and precision, by rule: a GPU where there is one; bf16 where it has it.

    Args:
        precision: ``"auto"`` takes bf16 on GPUs and CPUs that compute it, float32 elsewhere.
        device: a torch device name; None chooses.

    Raises:
        ConfigError: the device is unknown or not here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}; choose cpu or cuda") from error
    match kind:
        case "cpu":
            chosen = ("bf16" if bfloat16_flags() else "fp32") if precision == "auto" else precision
            return Device(
                name, torch.backends.cpu.get_cpu_capability(), chosen, torch.get_num_threads()
            )
        case "cuda" if torch.cuda.is_available():
            count = torch.cuda.device_count()
            if (torch.device(name).index or 0) >= count:
                raise ConfigError(
                    f"device {name!r} is not here; there are {count} GPUs, from cuda:0 on"
                )
            native = torch.cuda.get_device_capability(name) >= (8, 0)
            chosen = ("bf16" if native else "fp32") if precision == "auto" else precision
            return Device(name, torch.cuda.get_device_name(name), chosen, 0)
        case _:
            raise ConfigError(f"device {name!r} is not usable here; choose cpu (geofm doctor)")


def batch_size(model: TrainedModel, device: Device, plan: WindowPlan) -> int:
    """Windows a forward pass takes, by rule from the model, the device and the plan."""
    kind = torch.device(device.name).type
    config = model.segmenter.encoder.config
    tokens = (config.image_size // config.patch_size) ** 2 * config.dates // config.tubelet
    logits = len(model.classes) * config.image_size**2
    most = min(_TOKENS[kind] // tokens, _LOGITS[kind] // logits, MAX_BATCH[kind])
    return choose_batch(plan, most)


def input_shape(model: TrainedModel, batch: int) -> tuple[int, ...]:
    """(B, T, C, H, W) of a batch of windows."""
    config = model.segmenter.encoder.config
    return batch, config.dates, config.bands, config.image_size, config.image_size


class Inference:
    """A model on its device, fed with windows of one scene.

    Args:
        scene: with the model's bands in the model's order; gives scale and offset.
        batch: windows a forward pass takes, as `batch_size`.
        compiled: as the recipe says; `why_not_compiled` found no reason not to.
    """

    def __init__(
        self,
        model: TrainedModel,
        scene: Scene,
        device: Device,
        *,
        batch: int,
        compiled: bool = False,
    ) -> None:
        if device.threads:
            # Setting what is set already also stops MKL from taking fewer threads on a
            # busy machine, and with them another order of sums.
            torch.set_num_threads(device.threads)
        self.device = torch.device(device.name)
        self.batch = batch
        segmenter = model.segmenter.to(self.device).eval()
        kind, bf16 = self.device.type, device.precision == "bf16"
        if compiled:
            shape = input_shape(model, batch)
            self._forward = compiled_forward(segmenter, shape, kind, bf16=bf16)
        else:
            self._forward = eager_forward(segmenter, kind, bf16=bf16)
        self._scale, self._offset, self._mean, self._std = (
            torch.tensor(np.asarray(values, np.float32), device=self.device)
            for values in (scene.scale, scene.offset, model.contract.mean, model.contract.std)
        )

    @torch.no_grad()  # compiled code expects it
    def logits(self, dn: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_]) -> Iterator[Tensor]:
        """The logits (K, S, S) of each window, in order.

        Args:
            dn: (n, T, C, S, S) as stored, n from 1 to ``batch``.
            valid: (n, T, S, S) bool.
        """
        count = len(dn)
        if missing := self.batch - count:
            dn = np.concatenate([dn, np.zeros((missing, *dn.shape[1:]), dn.dtype)])
            valid = np.concatenate([valid, np.zeros((missing, *valid.shape[1:]), bool)])
        values = normalise(
            torch.from_numpy(dn).to(self.device),
            torch.from_numpy(valid).to(self.device),
            scale=self._scale,
            offset=self._offset,
            mean=self._mean,
            std=self._std,
        )
        yield from self._forward(values)[:count]
