"""Models and encoders: opened, taken over, saved; a model maps in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geofm.contract import PixelContract
from geofm.errors import ModelError
from geofm.info.models import model_rows
from geofm.model.finetuned import ImportOptions, import_finetuned, is_finetuned
from geofm.model.folder import (
    PretrainedEncoder,
    TrainedModel,
    load_encoder_folder,
    load_model_folder,
    save_encoder,
    save_model,
)
from geofm.model.prithvi import Adaptation, load_prithvi
from geofm.page import Page
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.infer import Precision
from geofm.predict.mapping import map_in_memory
from geofm.scenes.reader import Scene
from geofm.shipped import encoder_folder
from geofm.show import model_html
from geofm.tasks import MapClass

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Model:
    """A model that maps; ``print`` shows its contract at a glance.

    Attributes:
        trained: what `load_model` read or `finetune` made.
    """

    trained: TrainedModel

    @property
    def name(self) -> str:
        return self.trained.name

    @property
    def task(self) -> str:
        """What it maps, such as ``"flood"``."""
        return self.trained.task

    @property
    def classes(self) -> tuple[MapClass, ...]:
        """Names and colours, in the order of their codes in a map."""
        return self.trained.classes

    @property
    def contract(self) -> PixelContract:
        """Bands, level, statistics, resolution and dates that it needs."""
        return self.trained.contract

    def map(
        self,
        scene: Scene,
        *,
        probabilities: bool = False,
        accept: Mapping[str, str] | None = None,
        precision: Precision = "auto",
        device: str | None = None,
        progress: Progress | None = None,
    ) -> "xr.Dataset":
        """Map a scene in memory, onto the scene's own grid.

        Where memory is short, `map_scene` writes the same map to a file.

        Args:
            probabilities: keep those of every class too.
            accept: similar bands that may stand in, such as ``{"nir08": "nir"}``.
            precision: ``"auto"``, ``"fp32"`` or ``"bf16"``.
            device: such as ``"cpu"`` or ``"cuda"``; None takes a GPU where there is one.
            progress: is told the share done, 0 to 1, and what is being done.

        Returns:
            On the scene's GeoBox (``.odc.geobox``): ``classes`` (y, x) uint8, codes with
            CF ``flag_values`` and ``flag_meanings``, 253 unsure, 254 masked, 255 no data;
            ``confidence`` (y, x) float32 percent, NaN where there is no data; and, if
            asked, ``probabilities`` (class, y, x) float32, in steps of 0.004. The receipt
            is in ``attrs``.

        Raises:
            BandError, UnitsError, GridError, SceneError: the scene does not fit the model.
        """
        from geofm.predict.cube import map_cube

        options = MapOptions(
            probabilities=probabilities,
            accept=accept or {},
            precision=precision,
            device=device,
        )
        arrays = map_in_memory(self.trained, scene, options=options, progress=progress)
        seam_score = float("nan") if arrays.seam_score is None else arrays.seam_score
        return map_cube(self.trained, scene, arrays, measured={"seam_score": seam_score})

    def __str__(self) -> str:
        page = Page("model", self.name, tuple(model_rows(self.trained)), {})
        return str(page)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return model_html(self.trained)


def load_model(path: str | Path) -> Model:
    """Open a model folder, checked whole.

    Raises:
        ModelError: it is damaged, incomplete, of an unknown version, or no model.
    """
    return Model(load_model_folder(Path(path)))


def load_encoder(
    source: str | Path,
    *,
    bands: Sequence[str] = (),
    dates: int | None = None,
    image_size: int | None = None,
    positions: Literal["computed", "resized"] = "computed",
    norm_eps: float = 1e-5,
    config: str | Path | Mapping[str, Any] | None = None,
    contract: PixelContract | None = None,
) -> PretrainedEncoder:
    """Open an encoder, checked whole; ``print`` shows its licence, hash and load report.

    Args:
        source: a folder that geofm wrote; ``"geofm-small"``, which ships with geofm; a
            published name, such as ``"prithvi-eo-2.0-300m-tl"``, which is downloaded once;
            or a published file; or ``"timm/NAME"``, any plain vision transformer of
            timm. What follows is for published ones.
        bands: some of its bands, in any order; all by default.
        dates, image_size: of an input; as published by default.
        positions: the position code of another ``image_size`` is ``"computed"``
            for it, or that of the published size is ``"resized"``.
        norm_eps: of every LayerNorm; the oldest published code had 1e-6.
        config: the hub's ``config.json``, for a file that is none of the published.
        contract: the pixels that an encoder of timm will see; it has seen
            photographs, and its bands are adapted as its report says.

    Raises:
        ModelError: it is damaged, incomplete, of an unknown version, or no encoder.
        BandError: it has not seen a band.
        OutputError: a download cannot be stored.
    """
    adapt = Adaptation(
        bands=bands, dates=dates, image_size=image_size, positions=positions, norm_eps=norm_eps
    )
    if str(source).startswith("timm/"):
        if contract is None:
            raise ModelError(
                f"{source} has seen photographs, not reflectance; give contract=, the pixels that "
                "it will see"
            )
        from geofm.model.timm_vit import load_timm  # timm and torchvision take seconds to load

        return load_timm(str(source).removeprefix("timm/"), contract, image_size=image_size)
    folder = encoder_folder(source)
    if folder is None:
        return load_prithvi(source, config=config, adapt=adapt)
    if adapt != Adaptation() or config is not None:
        raise ModelError(
            f"{source} is an encoder folder and stays as it was trained; leave out bands, dates, "
            "image_size, positions, norm_eps and config"
        )
    return load_encoder_folder(folder)


def import_model(
    source: str | Path,
    *,
    published: str | None = None,
    config: str | Path | None = None,
    level: Literal["toa", "surface"] | None = None,
    resolution: float | None = None,
    licence: str | None = None,
    legacy_order: bool | None = None,
    upsample_last: bool | None = None,
) -> Model | PretrainedEncoder:
    """Take over a model that was fine-tuned from Prithvi elsewhere, or a Prithvi encoder.

    Args:
        source: a published name, such as ``"prithvi-eo-2.0-300m-burnscars"``, or
            a weights file; one that keeps its published name is known by it.
        published: the name of the published model that a renamed file is.
        config: TerraTorch's YAML file, or an encoder's ``config.json``.
        level, resolution: of the pixels that it was taught with, where the
            config does not tell.
        licence: of the weights, where they are not IBM and NASA's.
        legacy_order: whether it was taught on the shuffled dates and bands of
            the first crop model; None as published.
        upsample_last: whether a U-Net's last block doubles the side, as
            segmentation_models.pytorch did to 0.4; None as published, or as
            TerraTorch does today.

    Raises:
        ModelError: it is unknown, damaged or incomplete.
        OutputError: a download cannot be stored.
    """
    options = ImportOptions(
        published=published,
        config=config,
        level=level,
        resolution=resolution,
        licence=licence,
        legacy_order=legacy_order,
        upsample_last=upsample_last,
    )
    if is_finetuned(source, options):
        return Model(import_finetuned(source, options))
    return load_prithvi(source, config=config)


def save(model: Model | PretrainedEncoder, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model or encoder folder, whole or not at all.

    Raises:
        OutputError: it exists and ``overwrite`` is not given, or cannot be written.
        ModelError: a weight is not finite.
    """
    match model:
        case Model():
            save_model(model.trained, Path(path), overwrite=overwrite)
        case PretrainedEncoder():
            save_encoder(model, Path(path), overwrite=overwrite)
