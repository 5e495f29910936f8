"""``geofm evaluate`` and ``geofm calibrate``: a model and labelled scenes in, numbers out."""

from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geofm.cli.arguments import Result, check_free, name_of, quoted
from geofm.cli.labelled import note, pairs_of
from geofm.cli.parser import UsageError
from geofm.cli.progress import progress_bar
from geofm.cli.words import page_width, typed
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import Comparison, Evaluation, Model, Pair
    from geofm.scenes.window import Window


def evaluate(flags: Namespace, words: list[str], style: Style) -> Result:
    """``geofm evaluate``.

    Raises:
        UsageError: more than two models.
    """
    from geofm import api

    if len(flags.models) > 2:
        raise UsageError("geofm evaluate: takes one model, or two to compare; see --help")
    models = [api.load_model(path) for path in flags.models]
    pairs = _chosen(pairs_of(flags, [kind.name for kind in models[0].classes]), flags, "test")
    running = {"accept": flags.accept, "precision": flags.precision}
    found = []
    for path, model in zip(flags.models, models, strict=True):
        with progress_bar(f"evaluating {name_of(path)}") as progress:
            found.append(
                api.evaluate(
                    model,
                    pairs,
                    allow_leakage=flags.allow_leakage,
                    memory=flags.memory,
                    progress=progress,
                    **running,
                )
            )
    if len(found) == 2 and models[0].name == models[1].name:
        # Such as a model and its calibrated copy: their folders tell them apart.
        found = [
            replace(each, model=name_of(path))
            for each, path in zip(found, flags.models, strict=True)
        ]
    comparison = api.compare(*found) if len(found) == 2 else None
    if flags.html:
        with progress_bar("drawing chips") as progress:
            api.save_evaluation(
                models[-1],
                pairs,
                found[-1],
                flags.html,
                comparison=comparison,
                command=typed(words),
                progress=progress,
                **running,
            )
    if flags.write_card:
        for path, model, evaluation in zip(flags.models, models, found, strict=True):
            api.save(api.with_scores(model, evaluation), path, overwrite=True)
    return Result(_page(found, comparison, flags, style), _facts(found, comparison, flags))


def calibrate(flags: Namespace, style: Style) -> Result:
    """``geofm calibrate``."""
    from geofm import api

    check_free(flags)
    model = api.load_model(flags.model)
    pairs = _chosen(pairs_of(flags, [kind.name for kind in model.classes]), flags, "val")
    pairs, windows = _not_trained(model, pairs, flags)
    with progress_bar(f"calibrating {model.name}") as progress:
        calibrated = api.calibrate(
            model,
            pairs,
            windows=windows,
            coverage=flags.coverage,
            allow_leakage=flags.allow_leakage,
            accept=flags.accept,
            memory=flags.memory,
            precision=flags.precision,
            progress=progress,
        )
    api.save(calibrated, flags.output, overwrite=flags.overwrite)
    return _calibrated(calibrated, flags, style)


def _not_trained(
    model: "Model", pairs: "list[Pair]", flags: Namespace
) -> "tuple[list[Pair], list[tuple[Window, ...]] | None]":
    """Of the pairs that a model was taught with, what was set apart; else all of them."""
    from geofm import api

    some, windows = api.validation_windows(model, pairs)
    if not some or flags.split or flags.allow_leakage or any(pair.split for pair in pairs):
        return pairs, None
    note(f"fitting on what chose the weights: parts of {len(some)} of {len(pairs)} scenes")
    return some, windows


def _chosen(pairs: "list[Pair]", flags: Namespace, usual: str) -> "list[Pair]":
    """The pairs of the split that is wanted; all where none is given.

    Raises:
        SplitError: no pair is of that split.
    """
    from geofm.errors import SplitError

    given = sorted({pair.split for pair in pairs if pair.split})
    split = flags.split or (usual if given else "all")
    if split == "all":
        return pairs
    chosen = [pair for pair in pairs if pair.split == split]
    if not chosen:
        raise SplitError(
            f"no scene is of the split {split}; there are {', '.join(given) or 'none'}; choose "
            "one, or --split all"
        )
    if len(chosen) < len(pairs):
        note(f"{len(chosen)} of {len(pairs)} scenes are of the split {split} (--split)")
    return chosen


def _page(
    found: "list[Evaluation]", comparison: "Comparison | None", flags: Namespace, style: Style
) -> str:
    from geofm.assess.table import comparison_text, evaluation_text

    width = page_width()
    parts = [evaluation_text(each, style, width=width) for each in found]
    if comparison is not None:
        parts.append(comparison_text(comparison, style, width=width))
    if flags.html:
        parts.append(f"page {style.name(flags.html)}")
    if flags.write_card:
        parts.append(f"scores written to the card of {style.name(', '.join(flags.models))}")
    return "\n\n".join(parts)


def _facts(
    found: "list[Evaluation]", comparison: "Comparison | None", flags: Namespace
) -> dict[str, Any]:
    page = {"page": flags.html} if flags.html else {}
    if comparison is None:
        return {**found[0].plain(), **page}
    return {
        "evaluations": [each.plain() for each in found],
        "comparison": comparison.plain(),
        **page,
    }


def _calibrated(model: "Model", flags: Namespace, style: Style) -> Result:
    calibration, record = model.trained.calibration, model.trained.provenance["calibration"]
    assert calibration is not None
    modest = "it was too sure" if calibration.temperature > 1 else "it was too modest"
    lines = [
        f"model {style.name(flags.output)}",
        f"temperature {calibration.temperature:.3f} ({modest}), fitted on {record['pixels']:,} "
        f"pixels of {record['scenes']} scenes",
        f"negative log likelihood {record['nll_before']:.4f} -> {record['nll_after']:.4f}",
    ]
    if calibration.unsure_below is not None:
        lines.append(
            f"unsure below {calibration.unsure_below:.1%}: {flags.coverage:.0%} of those pixels "
            "keep their class"
        )
    lines.append(f"next: geofm evaluate {quoted(flags.output)} --images DIR --labels DIR")
    facts = {
        "kind": "model",
        "path": flags.output,
        "temperature": calibration.temperature,
        "unsure_below": calibration.unsure_below,
        **{name: value for name, value in record.items() if name != "training_footprint"},
    }
    return Result("\n".join(lines), facts)
