"""``geofm area``: a map in, points to be labelled out; labelled points in, areas out."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.cli.arguments import Result, quoted
from geofm.cli.parser import UsageError
from geofm.cli.progress import progress_bar
from geofm.cli.words import wrapped
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.assess.area import AreaDesign, AreaEstimate, ClassArea, Estimate


def area(flags: Namespace, style: Style) -> Result:
    """``geofm area design`` and ``geofm area estimate``.

    Raises:
        UsageError: an action lacks what it needs.
    """
    if flags.action == "design":
        return _design(flags, style)
    return _run_estimate(flags, style)


def _design(flags: Namespace, style: Style) -> Result:
    # Not through geofm.api, which loads torch: no model runs here.
    from geofm.assess.area import design_area
    from geofm.assess.area_design import DesignConfig

    if flags.output is None or flags.points is not None:
        raise UsageError("geofm area design: needs MAP and -o POINTS.gpkg; see geofm area --help")
    names = ("standard_error", "area_of", "accuracy", "allocation", "minimum", "seed")
    said = {name: value for name in names if (value := getattr(flags, name)) is not None}
    with progress_bar(f"drawing points on {flags.map}") as progress:
        design = design_area(
            flags.map,
            flags.output,
            config=DesignConfig(points=flags.total, **said),
            overwrite=flags.overwrite,
            progress=progress,
        )
    return Result(_design_page(design, flags, style), _design_facts(design))


def _design_page(design: "AreaDesign", flags: Namespace, style: Style) -> str:
    size, extra = design.size, design.points - design.size.needed
    width = max(len(stratum.name) for stratum in design.strata)
    goal = "asked for" if flags.total else "needed"
    more = f", and {extra} more so that each class has its minimum" if extra > 0 else ""
    lines = [
        f"points {style.name(str(design.path))}: {design.points} ({size.needed} {goal}{more})",
        style.faint(f"{'':{width}}  {'mapped ha':>14}  {'points':>6}  expected error of its area"),
    ]
    for stratum, count in zip(design.strata, size.counts.tolist(), strict=True):
        error = size.area_errors.get(stratum.name)
        told = "" if error is None else f"{error:14,.1f} ha"
        lines.append(f"{stratum.name:{width}}  {stratum.hectares:14,.1f}  {count:6}  {told}")
    lines += [
        f"expected standard error of the overall accuracy: {size.overall_error:.4f}",
        *_left_out(design.masked, design.unmeasured),
    ]
    short = {name: n for name, n in size.for_intervals.items() if n > design.points}
    if short:
        wants = ", ".join(f"{name} {n:,}" for name, n in short.items())
        lines.append(
            style.warn(
                wrapped(
                    f"the interval of an area needs more points to hold what it claims: {wants} "
                    "(--area-of CLASS)",
                    indent=0,
                )
            )
        )
    then = f"geofm area estimate {quoted(flags.map)} {quoted(flags.output)}"
    lines.append(f"next: write the class at each point into its column `reference`, then {then}")
    return "\n".join(lines)


def _design_facts(design: "AreaDesign") -> dict[str, Any]:
    size = design.size
    return {
        "path": str(design.path),
        "points": design.points,
        "needed": size.needed,
        "strata": [
            {"name": stratum.name, "hectares": stratum.hectares, "points": count}
            for stratum, count in zip(design.strata, size.counts.tolist(), strict=True)
        ],
        "expected_overall_error": size.overall_error,
        "expected_area_errors": dict(size.area_errors),
        "points_for_intervals": dict(size.for_intervals),
        "masked_hectares": design.masked,
        "unmeasured_hectares": design.unmeasured,
    }


def _run_estimate(flags: Namespace, style: Style) -> Result:
    from geofm.assess.area import estimate_area

    if flags.points is None or flags.output is not None:
        raise UsageError("geofm area estimate: needs MAP and POINTS; see geofm area --help")
    with progress_bar(f"estimating areas of {flags.map}") as progress:
        estimate = estimate_area(
            flags.map,
            flags.points,
            column=flags.column,
            skip_unlabelled=flags.skip_unlabelled,
            provenance=_provenance(flags.model),
            progress=progress,
        )
    return Result(_estimate_page(estimate, flags, style), _estimate_facts(estimate))


def _provenance(model: str | None) -> Mapping[str, Any] | None:
    if model is None:
        return None
    from geofm.model.folder import read_provenance

    return read_provenance(Path(model))


def _estimate_page(estimate: "AreaEstimate", flags: Namespace, style: Style) -> str:
    lines = str(estimate).split("\n")
    table = len(estimate.classes) + 1
    return "\n".join(
        [
            f"areas in {style.name(Path(flags.map).name)}, by {flags.points}",
            style.faint(lines[0]),
            *lines[1:table],
            wrapped(lines[table], indent=0),
            *(style.warn(wrapped(note, indent=0)) for note in estimate.notes),
        ]
    )


def _estimate_facts(estimate: "AreaEstimate") -> dict[str, Any]:
    return {
        "classes": [_class_facts(kind) for kind in estimate.classes],
        "overall_accuracy": _plain(estimate.overall),
        "hectares": estimate.hectares,
        "points": estimate.points,
        "confusion": {
            "rows": list(estimate.rows),
            "columns": [kind.name for kind in estimate.classes],
            "points": estimate.confusion.tolist(),
        },
        "masked_hectares": estimate.masked,
        "unmeasured_hectares": estimate.unmeasured,
        "notes": list(estimate.notes),
    }


def _class_facts(kind: "ClassArea") -> dict[str, Any]:
    return {
        "name": kind.name,
        "mapped_hectares": kind.mapped,
        "area_hectares": _plain(kind.area),
        "users_accuracy": _plain(kind.users),
        "producers_accuracy": _plain(kind.producers),
        "points": kind.points,
    }


def _plain(found: "Estimate | None") -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "interval": list(found.interval),
    }


def _left_out(masked: float, unmeasured: float) -> list[str]:
    return [f"left out: {masked:,.1f} ha masked, {unmeasured:,.1f} ha without data"]
