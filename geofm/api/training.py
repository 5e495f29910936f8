"""Encoders learnt from scenes, and models from labels, with controls beside them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.api.models import Model
from geofm.assess.curve_rows import CurveConfig, LabelCurve
from geofm.assess.probe import ProbeCurve, probe_by_area
from geofm.errors import SceneError
from geofm.model.folder import PretrainedEncoder
from geofm.pairing.scenes import Opened
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.infer import Precision
from geofm.scenes.catalog import Pair
from geofm.scenes.reader import Scene
from geofm.tasks import MapClass, find_task
from geofm.tiles.leakage import find_roles
from geofm.tiles.roles import whole
from geofm.train.config import ControlConfig, FinetuneConfig, PretrainConfig
from geofm.train.run_folder import Run

if TYPE_CHECKING:
    from geofm.assess.control import ControlTable


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
