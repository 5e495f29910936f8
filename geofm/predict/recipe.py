"""A map's recipe: everything its bytes depend on, fixed before the first window."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import geofm
from geofm.export.geotiff import gdal_version
from geofm.model.folder import TrainedModel
from geofm.model.weights import write_weights
from geofm.predict.infer import Device
from geofm.predict.plan import WindowPlan
from geofm.scenes.match import SceneMatch


@dataclass(frozen=True, slots=True)
class Recipe:
    """Same recipe, same scene: same bytes.

    Attributes:
        weights: SHA-256 of the model's weights file, saved or not yet.
        contract: the pixel contract, plain.
        calibration: temperature and the bound of "unsure", plain; None for neither.
        bands: the scene's bands that were read, in order.
        substitutions: bands that stand in for others, as accepted by the user.
        masked_qa: quality classes that set a pixel aside.
        unmasked_qa: those the model sets aside and this scene does not.
        window, overlap: pixels; the plan is anchored to the whole grid.
        batch: windows a forward pass takes.
        device, hardware, precision, threads: as `Device`.
        compiled: whether the forward pass was compiled.
        versions: of geofm, torch and GDAL.
    """

    weights: str
    contract: dict[str, object]
    calibration: dict[str, object] | None
    bands: tuple[str, ...]
    substitutions: tuple[str, ...]
    masked_qa: tuple[str, ...]
    unmasked_qa: tuple[str, ...]
    window: int
    overlap: int
    batch: int
    device: str
    hardware: str
    precision: str
    threads: int
    compiled: bool
    versions: dict[str, str]

    def plain(self) -> dict[str, object]:
        """As JSON gives it back."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def digest(self) -> str:
        """SHA-256 over the recipe in canonical JSON."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()


def make_recipe(
    model: TrainedModel,
    match: SceneMatch,
    plan: WindowPlan,
    device: Device,
    batch: int,
    *,
    compiled: bool,
) -> Recipe:
    """Fix the recipe of one map."""
    return Recipe(
        weights=model.sha256 or weights_hash(model),
        contract=asdict(model.contract),
        calibration=None if model.calibration is None else asdict(model.calibration),
        bands=match.scene.bands,
        substitutions=match.substitutions,
        masked_qa=match.masked_qa,
        unmasked_qa=match.unmasked_qa,
        window=plan.size,
        overlap=plan.overlap,
        batch=batch,
        device=torch.device(device.name).type,
        hardware=device.hardware,
        precision=device.precision,
        threads=device.threads,
        compiled=compiled,
        versions={
            "geofm": geofm.__version__,
            "torch": torch.__version__,
            "gdal": gdal_version(),
        },
    )


def weights_hash(model: TrainedModel) -> str:
    """The hash that the weights of a model will have once it is saved."""
    with TemporaryDirectory(prefix="geofm-") as folder:
        return write_weights(model.segmenter, Path(folder) / "weights.safetensors")
