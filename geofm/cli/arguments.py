"""What commands share: flags to arguments, and the page that a written folder gets."""

import shlex
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import PretrainedEncoder, Run


@dataclass(frozen=True, slots=True)
class Result:
    """What a command prints: ``page`` for people, ``facts`` (JSON values) for machines."""

    page: str
    facts: Mapping[str, Any]
    code: int = 0


def reading(flags: Namespace) -> dict[str, Any]:
    """What the user says of a scene's file; what they do not say is left to it."""
    names = (
        *("bands", "sensor", "dates", "scale", "offset", "level", "nodata", "resolution"),
        *("ground_size", "quality", "quality_codes", "masked_qa"),
    )
    return {name: value for name in names if (value := getattr(flags, name)) is not None}


def training(flags: Namespace) -> dict[str, Any]:
    """Settings of a training that the user has said; the others keep their defaults."""
    names = (
        *("steps", "batch_size", "learning_rate", "seed", "ema", "precision", "compile"),
        *("accumulate", "recompute", "devices", "num_nodes", "strategy"),
    )
    return {name: value for name in names if (value := getattr(flags, name)) is not None}


def class_codes(codes: Mapping[str, str] | None, classes: list[str]) -> dict[int | str, int] | None:
    """``{"1": "water"}`` -> ``{1: code of water}``; names of stored labels stay words."""
    from geofm.errors import LabelError

    if codes is None:
        return None
    unknown = sorted(set(codes.values()) - set(classes))
    if unknown:
        raise LabelError(
            f"--codes names {', '.join(unknown)}; the classes are {', '.join(classes)}"
        )
    return {
        int(stored) if stored.isdecimal() else stored: classes.index(name)
        for stored, name in codes.items()
    }


def check_free(flags: Namespace) -> None:
    """Refuse a taken output before an hour of training, not after it."""
    from geofm.errors import OutputError

    if Path(flags.output).exists() and not flags.overwrite:
        raise OutputError(
            f"{flags.output} exists; choose another output, or give --overwrite to replace it"
        )


def run_of(flags: Namespace) -> "Run":
    """Where a training keeps its checkpoint and curves: ``NAME.run`` beside the output."""
    from geofm.train.run_folder import Run, check_unfinished

    folder = Path(flags.output).with_name(f"{name_of(flags.output)}.run")
    run = Run(folder=folder, resume=flags.resume, restart=flags.overwrite and not flags.resume)
    check_unfinished(run)
    return run


def name_of(output: str) -> str:
    """A model's name from its folder's."""
    return Path(output).name.removesuffix(".geofm")


def with_licences(
    result: Result, provenance: Mapping[str, Any], style: Style, *, use: str | None = None
) -> Result:
    """The page with what the licences of its model forbid, said loudly below.

    Args:
        use: in place of the one that the provenance states.
    """
    from geofm.model.licences import FORBIDDING, model_terms

    loud = [
        f"{headline.upper()}: {sentence}"
        for headline, sentence in model_terms(provenance, use or "")
        if headline in FORBIDDING
    ]
    if not loud:
        return result
    page = "\n".join([result.page, *map(style.bad, loud)])
    return replace(result, page=page, facts={**result.facts, "licences": loud})


def encoder_of(source: str | None, *, dates: int) -> "PretrainedEncoder | None":
    """The encoder to begin with: a folder, or a published one for so many dates."""
    from geofm import api
    from geofm.shipped import encoder_folder

    if source is None:
        return None
    # A folder stays as it was trained; a published encoder is built for so many dates.
    return api.load_encoder(source, dates=None if encoder_folder(source) else dates)


def quoted(path: str) -> str:
    """A path as one would type it in a shell."""
    return shlex.quote(path)


def written(what: str, path: str, then: str, style: Style) -> Result:
    """The page of a written folder, with what to type next."""
    lines = [f"{what} {style.name(path)}", f"next: {then}"]
    return Result("\n".join(lines), {"kind": what, "path": path})
