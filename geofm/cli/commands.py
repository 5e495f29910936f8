"""What each command does: calls of `geofm.api`, then a page for people and facts for machines.

Every command imports what it needs when it runs.
"""

import sys
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.cli import again, area, batch, check, control, evaluate, train
from geofm.cli.arguments import Result, check_free, quoted, reading, with_licences
from geofm.cli.estimate import estimate_map
from geofm.cli.progress import progress_bar
from geofm.cli.words import as_flags, row_lines, typed, wrapped
from geofm.terminal import Style, style_of

if TYPE_CHECKING:
    from geofm.api import Model, PretrainedEncoder
    from geofm.predict.mapping import MapReport


def run(flags: Namespace, words: list[str]) -> Result:  # noqa: C901, PLR0911, PLR0912  one a command
    """Run the command that the flags name.

    Args:
        words: as typed, for receipts.

    Raises:
        GeofmError: the input is at fault.
    """
    style = style_of(sys.stdout)
    match flags.command:
        case "demo":
            return _demo(flags)
        case "info":
            return _info(flags, words, style)
        case "doctor":
            return _doctor(style)
        case "pretrain":
            return train.pretrain(flags, style)
        case "import":
            return _import(flags, style)
        case "check":
            return check.check(flags, words, style)
        case "finetune":
            return train.finetune(flags, style)
        case "map":
            return _map(flags, words, style)
        case "batch":
            return batch.batch(flags, words, style)
        case "evaluate":
            return evaluate.evaluate(flags, words, style)
        case "calibrate":
            return evaluate.calibrate(flags, style)
        case "area":
            return area.area(flags, style)
        case "label-curve":
            return control.label_curve(flags, style)
    raise AssertionError(flags.command)


def _info(flags: Namespace, words: list[str], style: Style) -> Result:
    from geofm.info.describe import describe

    if flags.again:
        return again.again(flags, words, style)
    page = describe(flags.path, **reading(flags))
    missing = as_flags(page.missing)
    facts = {**page.facts, "missing": missing} if missing else page.facts
    return Result(replace(page, missing=missing).text(style), facts)


def _doctor(style: Style) -> Result:
    from geofm.doctor import examine

    checks = examine()
    marks = {"ok": style.good("ok"), "advice": style.warn("!!"), "problem": style.bad("no")}
    width = max(len(each.name) for each in checks) + 2
    lines = []
    for each in checks:
        found = wrapped(each.found, indent=width + 4)
        lines.append(f"{marks[each.state]}  {each.name.ljust(width)}{found}")
        if each.advice:
            advice = wrapped(each.advice, indent=width + 4)
            lines.append(f"{' ' * (width + 4)}{style.warn(advice)}")
    problems = [each for each in checks if each.state == "problem"]
    code = 1 if problems else 0
    facts = {"healthy": not problems, "checks": [each.plain() for each in checks]}
    return Result("\n".join(lines), facts, code)


def _import(flags: Namespace, style: Style) -> Result:
    from geofm import api

    check_free(flags)
    with progress_bar(f"importing {flags.source}"):
        model = api.import_model(
            flags.source,
            published=flags.published,
            config=flags.config,
            level=flags.level,
            resolution=flags.resolution,
            licence=flags.licence,
            legacy_order=None if flags.legacy_order is None else flags.legacy_order == "yes",
            upsample_last=None if flags.smp is None else flags.smp == "0.4",
        )
        api.save(model, flags.output, overwrite=flags.overwrite)
    return _imported(model, flags.output, style)


def _imported(model: "Model | PretrainedEncoder", path: str, style: Style) -> Result:
    from geofm.api import Model

    match model:
        case Model(trained=inner):
            kind, then = "model", f"geofm map {quoted(path)} SCENE.tif -o OUT.tif"
        case inner:
            kind = "encoder"
            then = (
                f"geofm finetune --task flood --images DIR --labels DIR "
                f"--encoder {quoted(path)} -o flood.geofm"
            )
    facts = {
        "kind": kind,
        "path": path,
        "name": inner.name,
        "loaded": str(inner.report),
        "licences": list(inner.provenance["licences"]),
        "file_sha256": inner.provenance["file_sha256"],
    }
    lines = [
        f"{kind} {style.name(path)} ({inner.name})",
        f"loaded: {facts['loaded']}",
        f"licence: {', '.join(facts['licences']) or 'not recorded (--licence)'}",
        f"SHA-256 of its file: {facts['file_sha256']}",
        f"next: {then}",
    ]
    return Result("\n".join(lines), facts)


def _map(flags: Namespace, words: list[str], style: Style) -> Result:
    from geofm import api
    from geofm.predict.publish import check_output

    polygons = Path(flags.polygons) if flags.polygons else None
    check_output(
        Path(flags.output),
        inputs=[*flags.scenes, *([flags.quality] if flags.quality else [])],
        polygons=polygons,
        simplify=flags.simplify,
        html=Path(flags.html) if flags.html else None,
        resume=flags.resume,
        overwrite=flags.overwrite,
    )
    model = api.load_model(flags.model)
    scene = api.open_scene(
        flags.scenes[0] if len(flags.scenes) == 1 else flags.scenes, **reading(flags)
    )
    if flags.estimate:
        return estimate_map(flags, model, scene, style)
    with progress_bar(f"mapping {scene.id}") as progress:
        report = api.map_scene(
            model,
            scene,
            flags.output,
            probabilities=flags.probabilities,
            accept=flags.accept,
            memory=flags.memory,
            precision=flags.precision,
            resume=flags.resume,
            overwrite=flags.overwrite,
            polygons=polygons,
            min_area=flags.min_area,
            simplify=flags.simplify,
            html=flags.html,
            command=typed(words),
            progress=progress,
        )
    result = Result(_map_page(report, style), _map_facts(report))
    return with_licences(result, model.trained.provenance, style, use=flags.use)


def _map_page(report: "MapReport", style: Style) -> str:
    from geofm.predict.pages import map_rows

    rows = {
        "map": style.name(str(report.path)),
        **{row.label: row.text for row in map_rows(report)},
        "next": f"geofm area design {quoted(str(report.path))} -o points.gpkg",
    }
    return "\n".join(row_lines(rows, style))


def _map_facts(report: "MapReport") -> dict[str, Any]:
    return {
        "path": str(report.path),
        "files": {role: str(path) for role, path in report.files.items()},
        "pixels": report.pixels,
        "seconds": round(report.seconds, 3),
        "seam_score": report.seam_score,
        "substitutions": list(report.substitutions),
        "blocks": report.blocks,
        "resumed_blocks": report.resumed_blocks,
        "recipe": report.recipe.plain(),
        "recipe_sha256": report.recipe.digest,
    }


def _demo(flags: Namespace) -> Result:
    from geofm.demo import run_demo

    with progress_bar("mapping water in the Havel lakeland") as progress:
        report = run_demo(Path(flags.output), progress=progress)
    return Result(str(report), asdict(report))
