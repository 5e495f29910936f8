"""What geofm offers to Python: open a scene, load a model, map; pretrain and fine-tune.

Everything here is reached as ``geofm.NAME``; all other modules are private.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from geofm.assess import area as assess_area
from geofm.assess import leakage
from geofm.assess.area import AreaDesign, AreaEstimate
from geofm.assess.area_design import DesignConfig
from geofm.assess.calibrate import COVERAGE, calibrate_model
from geofm.assess.check import CheckReport
from geofm.assess.chips import draw_chips
from geofm.assess.compare import Comparison, paired_test
from geofm.assess.curve_rows import CurveConfig, LabelCurve
from geofm.assess.evaluate import Evaluation, evaluate_model
from geofm.assess.page import write_page
from geofm.assess.probe import ProbeCurve, probe_by_area
from geofm.contract import PixelContract
from geofm.datasets.open import open_dataset
from geofm.errors import ModelError, SceneError
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
from geofm.model.timm_vit import load_timm
from geofm.page import Page
from geofm.pairing.open import open_catalog, open_pairs
from geofm.pairing.scenes import Opened, find_entries, open_scenes
from geofm.predict import again as predict_again
from geofm.predict import estimate, forecast
from geofm.predict.again import Again
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.estimate import Estimate
from geofm.predict.forecast import BatchEstimate
from geofm.predict.infer import Precision
from geofm.predict.many import BatchOptions, BatchReport, gpus_of, map_many, scenes_to_map
from geofm.predict.mapping import MapReport, map_in_memory, map_to_file
from geofm.predict.workers import worker_count
from geofm.scenes.catalog import Pair
from geofm.scenes.entries import Entry
from geofm.scenes.labels import Labels, open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Pixels, Scene
from geofm.scenes.window import Window
from geofm.shipped import encoder_folder
from geofm.show import (
    area_html,
    batch_html,
    check_html,
    map_html,
    model_html,
    scene_html,
    score_html,
)
from geofm.tasks import MapClass, find_task
from geofm.tiles.leakage import Leakage, find_roles
from geofm.tiles.roles import Roles, whole
from geofm.train.config import ControlConfig, EncoderShape, FinetuneConfig, PretrainConfig
from geofm.train.run_folder import Run

if TYPE_CHECKING:
    import xarray as xr

    from geofm.assess.control import ControlTable

__all__ = [
    "Again",
    "AreaDesign",
    "AreaEstimate",
    "BatchEstimate",
    "BatchReport",
    "Comparison",
    "ControlConfig",
    "CurveConfig",
    "DesignConfig",
    "EncoderShape",
    "Estimate",
    "Evaluation",
    "FinetuneConfig",
    "LabelCurve",
    "Labels",
    "Leakage",
    "MapClass",
    "MapReport",
    "Model",
    "Opened",
    "Pair",
    "PixelContract",
    "Pixels",
    "PretrainConfig",
    "PretrainedEncoder",
    "Roles",
    "Run",
    "Scene",
    "calibrate",
    "compare",
    "compare_controls",
    "design_area",
    "estimate_area",
    "estimate_batch",
    "estimate_map",
    "evaluate",
    "find_roles",
    "finetune",
    "import_model",
    "label_curve",
    "load_encoder",
    "load_model",
    "map_again",
    "map_batch",
    "map_scene",
    "open_catalog",
    "open_dataset",
    "open_labels",
    "open_pairs",
    "open_scene",
    "open_scenes",
    "pretrain",
    "probe",
    "save",
    "save_evaluation",
    "validation_windows",
    "with_scores",
]

# What a notebook shows of these draws on rooms above theirs: their cards are lent from here.
Scene._repr_html_ = scene_html  # type: ignore[attr-defined]
PretrainedEncoder._repr_html_ = model_html  # type: ignore[attr-defined]
BatchReport._repr_html_ = batch_html  # type: ignore[attr-defined]
MapReport._repr_html_ = map_html  # type: ignore[attr-defined]
Evaluation._repr_html_ = score_html  # type: ignore[attr-defined]
AreaEstimate._repr_html_ = area_html  # type: ignore[attr-defined]
CheckReport._repr_html_ = check_html  # type: ignore[attr-defined]


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


def map_scene(
    model: Model,
    scene: Scene,
    output: str | Path,
    *,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    polygons: str | Path | None = None,
    min_area: float = 0.0,
    simplify: float = 0.0,
    html: str | Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> MapReport:
    """Map a scene of any size into a Cloud-Optimized GeoTIFF, in bounded memory.

    Beside ``OUT.tif`` stand ``OUT_confidence.tif``, ``OUT_probabilities.tif`` if asked,
    and ``OUT.json``, a STAC item with the receipt. They appear whole, or not at all.

    Args:
        output: ends in ``.tif``.
        memory: ceiling over the model itself, bytes.
        resume: go on where a stopped run of the same map ended; the bytes are the same.
        overwrite: replace a map that exists.
        polygons: GeoPackage (``.gpkg``) or GeoParquet (``.parquet``) for the areas of each
            class: ``class``, ``class_name``, ``hectares`` on the ellipsoid and mean
            ``confidence``, percent.
        min_area: leave out polygons below, hectares.
        simplify: leave out corners of polygons whose triangle is smaller than this length
            squared, metres; borders stay shared, and all outlines are in memory.
        html: a page with the scene under its map, to pan and zoom, offline, as
            `geofm.plot.slippy`.
        command: what the user typed, for the receipt.
        probabilities, accept, precision, device, progress: as `Model.map`.

    Raises:
        BandError, UnitsError, GridError, SceneError: the scene does not fit the model.
        OutputError: the output exists, or cannot be written.
        Stopped: SIGTERM came; ``resume`` goes on.
    """
    options = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
        resume=resume,
        overwrite=overwrite,
        polygons=None if polygons is None else Path(polygons),
        min_area=min_area,
        simplify=simplify,
        html=None if html is None else Path(html),
    )
    return map_to_file(
        model.trained, scene, output, options=options, command=command, progress=progress
    )


def map_batch(
    model: Model | str | Path,
    manifest: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int = 1,
    scheduler: str | None = None,
    tries: int = 3,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    overwrite: bool = False,
    reading: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> BatchReport:
    """Map many scenes into a folder; the same call again goes on where it ended.

    Each map is named for its scene, with the bytes that `map_scene` writes with so many
    threads. A map that stands there whole, of this model and recipe, is kept; an unfinished
    one is taken up. What cannot be mapped is tried again, then set aside with its reason.
    Beside the maps: ``collection.json`` (STAC), ``classes.vrt`` and ``confidence.vrt`` over
    all of them, and ``ledger.sqlite``, which tells how each scene went.

    Args:
        model: or its folder.
        manifest: as `open_scenes` takes it; of a STAC collection or catalogue each item is a
            scene. Files in ``output`` are none.
        output: folder of the maps, made if it is not there.
        workers: processes; 0 maps in this one. By default one a GPU, else by cores and memory.
        threads: of torch in each worker on a CPU; part of the recipe.
        scheduler: of a Dask cluster, such as ``"tcp://host:8786"``, whose workers share the
            disk; ``"local"`` starts one on this machine.
        tries: of a scene that fails, in all.
        overwrite: make maps again that another model or recipe made, or whose scene has
            changed; else those scenes are set aside.
        reading: arguments of `open_scene` for all scenes.
        memory: ceiling of each worker over the model itself, bytes.
        probabilities, accept, precision, device, command, progress: as `map_scene`.

    Raises:
        SceneError: the manifest cannot be read, names nothing, or two scenes alike.
        OutputError: the folder cannot be written, another batch is at it, or another model
            made its maps.
        ConfigError: Dask is not installed, or no scheduler answers.
        Stopped: SIGTERM came; the same call goes on.
    """
    path = None if isinstance(model, Model) else Path(model)
    trained = load_model(path).trained if path else cast(Model, model).trained
    return map_many(
        trained,
        _entries(manifest),
        Path(output),
        model_folder=path,
        maps=MapOptions(
            probabilities=probabilities,
            accept=accept or {},
            memory=memory,
            precision=precision,
            device=device,
            overwrite=overwrite,
        ),
        options=BatchOptions(
            workers=_workers(trained, memory=memory, device=device) if workers is None else workers,
            threads=threads,
            scheduler=scheduler,
            tries=tries,
        ),
        reading=reading or {},
        command=command,
        progress=progress,
    )


def estimate_batch(
    model: Model,
    manifest: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    threads: int = 1,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    reading: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BatchEstimate:
    """Forecast what `map_batch` will take, by the forecasts of a few scenes drawn at random.

    Takes up to a minute; nothing is left on the disk.

    Args:
        model, manifest, output, workers, threads, probabilities, accept, memory, precision,
            device, reading, progress: as `map_batch`.

    Raises:
        SceneError: the manifest cannot be read or names nothing, or none of the scenes
            looked at can be mapped.
    """
    trained = model.trained
    return forecast.estimate_batch(
        trained,
        scenes_to_map(_entries(manifest), Path(output)),
        maps=MapOptions(
            probabilities=probabilities,
            accept=accept or {},
            memory=memory,
            precision=precision,
            device=device,
        ),
        options=BatchOptions(
            workers=_workers(trained, memory=memory, device=device) if workers is None else workers,
            threads=threads,
        ),
        reading=reading or {},
        progress=progress,
    )


def _entries(manifest: str | Path | Sequence[str | Path]) -> list[Entry]:
    """The scenes of a manifest, items of a STAC collection apart."""
    sources = [manifest] if isinstance(manifest, str | Path) else manifest
    return list(find_entries(sources, items_apart=True))


def _workers(model: TrainedModel, *, memory: int, device: str | None) -> int:
    """Workers that this machine carries, by rule."""
    from geofm.doctor import available_cores, memory_limit, physical_memory

    total = physical_memory()
    weights = sum(one.numel() * one.element_size() for one in model.segmenter.parameters())
    return worker_count(
        cores=available_cores(),
        memory=min(total, memory_limit() or total),
        gpus=len(gpus_of(device)),
        ceiling=memory,
        weights=weights,
    )


def map_again(
    map: str | Path,  # noqa: A002  it is one
    output: str | Path,
    model: Model,
    scene: Scene,
    *,
    memory: int = 2 * 2**30,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Again:
    """Make a map again as its receipt says, and hold the files against the first ones.

    Bands that were accepted, quality classes, precision, device and threads are the receipt's.

    Args:
        map: with its receipt (``OUT.json``) beside it.
        output: ends in ``.tif``.
        model, scene: those of the receipt.
        memory, overwrite, command, progress: as `map_scene`.

    Returns:
        Whether the bytes are the same (``.same``), and what has changed if not; ``print``
        shows both.

    Raises:
        SceneError: there is no receipt.
        BandError, UnitsError, GridError, OutputError: as `map_scene`.
    """
    return predict_again.map_again(
        map,
        output,
        model.trained,
        scene,
        memory=memory,
        overwrite=overwrite,
        command=command,
        progress=progress,
    )


def estimate_map(
    model: Model,
    scene: Scene,
    *,
    probabilities: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
) -> Estimate:
    """Forecast what `map_scene` will take: seconds, memory and disk.

    A probe of up to some 20 s reads, maps and writes a little of the scene; nothing is left on
    the disk.

    Args:
        probabilities, accept, memory, precision, device: as `map_scene`.

    Raises:
        BandError, UnitsError, GridError, SceneError: the scene does not fit the model.
    """
    options = MapOptions(
        probabilities=probabilities,
        accept=accept or {},
        memory=memory,
        precision=precision,
        device=device,
    )
    return estimate.estimate_map(model.trained, scene, options)


def pretrain(
    scenes: Sequence[Scene] | Opened,
    config: PretrainConfig | None = None,
    *,
    encoder: PretrainedEncoder | str | Path | None = None,
    name: str = "encoder",
    licences: Sequence[str] = (),
    run: Run | None = None,
    progress: Progress | None = None,
) -> PretrainedEncoder:
    """Learn an encoder from scenes without labels, by masked autoencoding.

    Args:
        scenes: with the same bands and level, as `open_scenes` or `open_scene` opens them.
        encoder: to go on from: one that `load_encoder` gave, its folder, or a published
            name or file, whose decoder goes on too where it is at hand.
        licences: of the pixels, for the model card.
        run: the folder for curves, for pictures of what is rebuilt, and for a checkpoint
            to resume from; None keeps nothing.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SceneError, BandError, UnitsError, GridError: the scenes do not go together.
        ModelError: the encoder cannot be loaded.
        ConfigError: the config does not fit them, or training diverged.
        OutputError: the run's folder holds another training.
        Stopped: SIGTERM came; ``Run(resume=True)`` goes on.

    >>> scenes = open_scenes(["scenes"])  # doctest: +SKIP
    >>> run = Run(folder=Path("encoder.run"), resume=True)  # doctest: +SKIP
    >>> encoder = pretrain(scenes, PretrainConfig(steps=5000), run=run)  # doctest: +SKIP
    """
    from geofm.train.pretrain import pretrain_encoder, start_from  # Lightning loads when used

    opened = scenes if isinstance(scenes, Opened) else Opened(tuple(scenes))
    if not opened.scenes:
        raise SceneError("no scene to train on; give one or more")
    dates = (config.dates if config else 0) or len(opened.scenes[0].dates)
    start = start_from(encoder, dates=dates)
    return pretrain_encoder(
        opened.scenes,
        config,
        encoder=start.encoder,
        decoder=start.decoder,
        name=name,
        licences=[*licences, *opened.licences],
        skipped=opened.skipped,
        run=run,
        watch=None if run is None else partial(_look, run.folder),
        progress=progress,
    )


def _look(folder: Path, *seen: Any) -> None:
    """A picture of how pretraining is getting on."""
    from geofm.plot.rebuilt import save_look  # matplotlib takes a second to import

    save_look(folder, *seen)


def probe(
    encoder: PretrainedEncoder,
    pairs: Sequence[Pair],
    *,
    test: float = 0.5,
    counts: Sequence[int | None] = (1, 5, 10, None),
    seeds: int = 5,
    progress: Progress | None = None,
) -> tuple[PretrainedEncoder, ProbeCurve]:
    """How much of a map can be read straight off an encoder, by number of labelled scenes.

    A logistic regression on its frozen features, against the same on random weights and on
    the raw bands, taught on a part of the labelled area and scored on the rest.

    Args:
        pairs: scenes with class codes from 0, as `open_pairs` finds them.
        test: share of the area that is scored.
        counts: labelled scenes to learn from; None for all.
        seeds: repeated draws of the labels.
        progress: is told the share done, 0 to 1, and what is being done.

    Returns:
        The encoder with the scores for its card, and the scores, which print as a table.

    Raises:
        LabelError, SplitError: the labels are too few.
        BandError, UnitsError, SceneError, GridError: a scene does not fit the encoder.
    """
    return probe_by_area(encoder, pairs, test=test, counts=counts, seeds=seeds, progress=progress)


def finetune(
    task: str,
    pairs: Sequence[Pair],
    *,
    classes: Sequence[MapClass] | None = None,
    encoder: PretrainedEncoder | None = None,
    config: FinetuneConfig | None = None,
    val: float | Sequence[Pair] = 0.2,
    allow_leakage: bool = False,
    features: str | Path | None = None,
    name: str = "",
    licences: Sequence[str] = (),
    run: Run | None = None,
    progress: Progress | None = None,
) -> Model:
    """Teach an encoder a task from labelled scenes.

    The model reads what the labelled scenes are: their level, resolution and number
    of dates, in the encoder's bands. What differs from the encoder's own pixels, and how
    the labels were split, is told in its provenance.

    Args:
        task: ``"flood"``, ``"burn_scar"`` or ``"crops"``; any word with ``classes``.
        pairs: scenes with labels, as `open_pairs` finds them.
        classes: in the order of their codes; the task's own by default.
        encoder: to start from; None trains a small one from nothing.
        val: what the best weights are chosen by: a share of the labelled area, which is
            set apart with a gap where the labels are enough, or other pairs; 0 for
            none. Pairs that come with a split keep it.
        allow_leakage: take a given split whose roles lie near each other.
        features: folder in which to keep what a frozen encoder sees (``encoder_rate=0``).
            Training a head again, and mapping again, then takes seconds; the map's bytes
            are the same as without.
        licences: of the pixels and labels, for the model card.
        run: as `pretrain`.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        LabelError: no valid pixel is labelled, all of one class, or a label is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit.
        SplitError: a given split leaks.
        ConfigError: the task is unknown, the config does not fit, or training diverged.
        OutputError, Stopped: as `pretrain`.

    >>> config = FinetuneConfig(encoder_rate=0, steps=500)  # doctest: +SKIP
    >>> model = finetune("flood", pairs, encoder=encoder, config=config)  # doctest: +SKIP
    """
    from geofm.train.finetune import finetune_segmenter  # Lightning loads when used
    from geofm.train.roles import finetuning_roles

    kinds = find_task(task).classes if classes is None else classes
    share = val if isinstance(val, int | float) else 0.0
    roles = finetuning_roles(
        pairs, val=share, seed=config.seed if config else 0, allow_leakage=allow_leakage
    )
    train, windows = roles.of("train", pairs)
    chosen, chosen_windows = roles.of("val", pairs)
    others = [] if isinstance(val, int | float) else list(val)
    return Model(
        finetune_segmenter(
            task,
            kinds,
            train,
            windows=windows,
            val=[*chosen, *others],
            val_windows=[*chosen_windows, *((whole(pair),) for pair in others)],
            split=roles.how,
            encoder=encoder,
            config=config,
            features=None if features is None else Path(features),
            name=name,
            licences=licences,
            run=run,
            progress=progress,
        )
    )


def compare_controls(
    model: Model,
    pairs: Sequence[Pair],
    *,
    config: FinetuneConfig | None = None,
    val: float = 0.2,
    allow_leakage: bool = False,
    control: ControlConfig | None = None,
    precision: Precision = "auto",
    device: str | None = None,
    progress: Progress | None = None,
) -> "ControlTable":
    """Train a U-Net and a random forest beside a model, and score all three on held-out ground.

    The controls read the model's pixels, learn from its windows and see as many samples. They
    need ``pip install 'geofm[control]'``.

    Args:
        model: that `finetune` made of these pairs.
        pairs, config, val, allow_leakage: as `finetune` had them; the split is the same then.
        control: how the controls are trained, where their defaults will not do.
        precision, device, progress: as `Model.map`.

    Returns:
        Scores with intervals, and the model less each control on the same pixels; ``print``
        shows a table.

    Raises:
        ConfigError: the extra ``control`` is not installed.
        SplitError: nothing is held out.
    """
    from geofm.assess.control import compare_controls as compare_them
    from geofm.train.roles import finetuning_roles

    settings = config or FinetuneConfig()
    roles = finetuning_roles(pairs, val=val, seed=settings.seed, allow_leakage=allow_leakage)
    return compare_them(
        model.trained,
        pairs,
        roles,
        config=settings,
        control=control,
        options=MapOptions(precision=precision, device=device),
        progress=progress,
    )


def label_curve(
    task: str,
    pairs: Sequence[Pair],
    *,
    classes: Sequence[MapClass] | None = None,
    encoder: PretrainedEncoder | None = None,
    config: FinetuneConfig | None = None,
    curve: CurveConfig | None = None,
    control: ControlConfig | None = None,
    test: float = 0.3,
    allow_leakage: bool = False,
    rows: str | Path | None = None,
    precision: Precision = "auto",
    device: str | None = None,
    progress: Progress | None = None,
) -> LabelCurve:
    """Score maps by the number of labels that they were learnt from.

    A pretrained encoder, its twin with random weights, a U-Net and a random forest learn from
    1, 2, 4 ... labelled scenes, drawn anew for each seed, and are scored on the same test ground.

    Args:
        task, classes, encoder, config: as `finetune`.
        pairs: scenes with labels; those whose split is ``"test"`` are scored.
        curve: which numbers of labels, how many seeds, which methods.
        control: how the controls are trained, where their defaults will not do.
        test: share of the area that is scored, where pairs come without a split.
        allow_leakage: take a given split whose roles lie near each other.
        rows: a CSV file, a row a finished training; a curve that was stopped goes on there.
        precision, device, progress: as `Model.map`.

    Returns:
        Mean IoU (0 to 1) over seeds with 95 % intervals; ``print`` shows a table.

    Raises:
        ConfigError: a setting does not fit, or the extra ``control`` is not installed.
        SplitError: no test ground can be set apart, or a given split leaks.
        OutputError: ``rows`` holds another curve, or cannot be written.
    """
    from geofm.assess.curve import label_curve as draw_curve  # Lightning loads when used
    from geofm.tiles.leakage import find_roles

    roles, _ = find_roles(pairs, val=0.0, test=test, allow_leakage=allow_leakage)
    train, windows = roles.of("train", pairs)
    scored, test_windows = roles.of("test", pairs)
    return draw_curve(
        task,
        find_task(task).classes if classes is None else classes,
        train,
        scored,
        windows=windows,
        test_windows=test_windows,
        encoder=encoder,
        config=config,
        control=control,
        curve=curve,
        rows=None if rows is None else Path(rows),
        options=MapOptions(precision=precision, device=device),
        progress=progress,
    )


def design_area(
    map: "str | Path | xr.Dataset",  # noqa: A002  it is one
    output: str | Path,
    *,
    config: DesignConfig | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AreaDesign:
    """Draw the points that a map's areas need, and write them to be labelled by people.

    Args:
        map: as `map_scene` wrote it, or `Model.map` gave it.
        output: ``.gpkg``, ``.parquet`` or ``.csv``, with an empty column ``reference``. How
            the points were drawn is kept in ``.design.json`` beside it.
        config: which standard error is wanted, of what; 0.02 of the overall accuracy.
        overwrite: replace points that exist, and what was labelled in them.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the map shows no class.
        ConfigError: the config names a class that the map has not, or asks too much.
        OutputError: the output exists, or cannot be written.
    """
    return assess_area.design_area(
        map, output, config=config, overwrite=overwrite, progress=progress
    )


def estimate_area(
    map: "str | Path | xr.Dataset",  # noqa: A002  it is one
    reference: str | Path,
    *,
    column: str = "reference",
    skip_unlabelled: bool = False,
    model: Model | None = None,
    progress: Progress | None = None,
) -> AreaEstimate:
    """Estimate how much ground of each class there is, from labelled points.

    Args:
        map: as `map_scene` wrote it, or `Model.map` gave it.
        reference: points that `design_area` drew, labelled; or points of one's own with a
            column ``inclusion_probability``, drawn at random from all of the map or in
            its classes.
        column: of the labels: names of classes, or their codes.
        skip_unlabelled: leave points without a label out, as if chance had chosen them.
        model: the map's, where no receipt beside it tells where it was trained.
        progress: is told the share done, 0 to 1, and what is being done.

    Returns:
        Hectares, user's and producer's accuracy of each class and the overall accuracy (0 to
        1), each with a standard error and a 95 % interval; ``print`` shows a table.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the reference is no random sample of the map, or not labelled so that
            it tells every class.
        SplitError: points lie where the model was trained, and were not drawn since.

    >>> design_area("flood.tif", "points.gpkg")  # doctest: +SKIP
    >>> print(estimate_area("flood.tif", "points.gpkg"))  # labelled by now  # doctest: +SKIP
    """
    return assess_area.estimate_area(
        map,
        reference,
        column=column,
        skip_unlabelled=skip_unlabelled,
        provenance=None if model is None else model.trained.provenance,
        progress=progress,
    )


def evaluate(
    model: Model,
    pairs: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    allow_leakage: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score the maps that a model draws of labelled scenes, blended as `map_scene` writes them.

    Intervals come from drawing groups of scenes, chips or blocks anew, never pixels; a CRS
    is not needed. What has labels is mapped in bounded memory, and no map is kept.

    Args:
        pairs: scenes with labels, as `open_pairs` finds them, that trained nothing.
        windows: for each pair, the windows to score, pixels, disjoint; None for all.
        allow_leakage: score also what the model was trained on.
        memory: ceiling over the model itself, bytes.
        accept, precision, device, progress: as `Model.map`.

    Returns:
        Confusion, IoU, F1, precision, recall and accuracy with 95 % intervals, slices,
        and how far confidence holds; ``print`` shows a table, ``plain()`` is JSON.

    Raises:
        SplitError: the model was trained on some of it.
        LabelError: nothing is labelled where the map has a class, or a label is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit the model.
    """
    options = MapOptions(accept=accept or {}, memory=memory, precision=precision, device=device)
    return evaluate_model(
        model.trained,
        pairs,
        windows=windows,
        allow_leakage=allow_leakage,
        options=options,
        progress=progress,
    )


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Is the second model better? Both drawn and swapped on the same blocks.

    Args:
        first, second: of the same pairs and windows.

    Returns:
        Mean IoU of the second less that of the first, with a 95 % interval and a p-value.

    Raises:
        ModelError: the models map different classes.
        LabelError: they were not scored on the same pairs and windows.
    """
    return paired_test(first, second)


def save_evaluation(
    model: Model,
    pairs: Sequence[Pair],
    evaluation: Evaluation,
    path: str | Path,
    *,
    comparison: Comparison | None = None,
    accept: Mapping[str, str] | None = None,
    precision: Precision = "auto",
    device: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Path:
    """Write an evaluation as one HTML page, with the best, median and worst chips as pictures.

    Args:
        model, pairs: those of the evaluation; the chips are mapped once more.
        path: an HTML file, replaced; it needs no other file.
        comparison: with another model.
        accept, precision, device, progress: as `Model.map`.
        command: what the user typed, for the foot of the page.

    Raises:
        OutputError: it cannot be written.
    """
    options = MapOptions(accept=accept or {}, precision=precision, device=device)
    chips = draw_chips(model.trained, pairs, evaluation, options=options, progress=progress)
    return write_page(Path(path), evaluation, chips, comparison, command=command)


def with_scores(model: Model, evaluation: Evaluation) -> Model:
    """The model with an evaluation in its provenance, for its card; `save` keeps both."""
    provenance = {**model.trained.provenance, "scores": evaluation.plain()}
    return Model(replace(model.trained, provenance=provenance))


def calibrate(
    model: Model,
    pairs: Sequence[Pair],
    *,
    windows: Sequence[Sequence[Window]] | None = None,
    coverage: float | None = COVERAGE,
    allow_leakage: bool = False,
    accept: Mapping[str, str] | None = None,
    memory: int = 2 * 2**30,
    precision: Precision = "auto",
    device: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """The same model, whose probabilities hold and which calls unsure what it does not know.

    A temperature is fitted on validation pixels; it changes no class. Below a probability
    that ``coverage`` of these pixels reach, maps hold the code 253 instead of a class.

    Args:
        pairs: scenes with labels that trained nothing, and will not test.
        windows: for each pair, the windows to fit on; None for all.
        coverage: share of the pixels that keep their class, above 0 to 1; None for all.
        allow_leakage: fit also on what the model was trained on.
        memory: ceiling over the model itself, bytes.
        accept, precision, device, progress: as `Model.map`.

    Raises:
        ConfigError: ``coverage`` is out of range.
        SplitError: the model was trained on some of it.
        LabelError: too few pixels are labelled, or a label is no class.
        SceneError, BandError, UnitsError, GridError: a scene does not fit the model.

    >>> some, windows = validation_windows(model, pairs)  # doctest: +SKIP
    >>> save(calibrate(model, some, windows=windows), "calm.geofm")  # doctest: +SKIP
    """
    options = MapOptions(accept=accept or {}, memory=memory, precision=precision, device=device)
    return Model(
        calibrate_model(
            model.trained,
            pairs,
            windows=windows,
            coverage=coverage,
            allow_leakage=allow_leakage,
            options=options,
            progress=progress,
        )
    )


def validation_windows(
    model: Model, pairs: Sequence[Pair]
) -> tuple[list[Pair], list[tuple[Window, ...]]]:
    """What `finetune` set apart of its pairs to choose the weights by, for `calibrate`.

    Args:
        pairs: as they were given to `finetune`.

    Returns:
        Pairs, and the windows of each; none where nothing was set apart.
    """
    return leakage.validation_windows(model.trained.provenance, pairs)


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
