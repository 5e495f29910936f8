"""Models scored on labelled scenes, compared, and made to know when they do not know."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from geofm.api.models import Model
from geofm.assess import leakage
from geofm.assess.calibrate import COVERAGE, calibrate_model
from geofm.assess.chips import draw_chips
from geofm.assess.compare import Comparison, paired_test
from geofm.assess.evaluate import Evaluation, evaluate_model
from geofm.assess.page import write_page
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.infer import Precision
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window


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
