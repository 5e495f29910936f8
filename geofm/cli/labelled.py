"""Scenes with labels, as the flags of several commands name them."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from geofm.cli.arguments import class_codes, reading
from geofm.cli.progress import progress_bar
from geofm.tasks import IGNORE

if TYPE_CHECKING:
    from geofm.api import Pair
    from geofm.pairing.open import Opened
    from geofm.tasks import Task


def pairs_of(flags: Namespace, classes: Sequence[str]) -> "list[Pair]":
    """The scenes with labels that the flags name, wherever they come from.

    Args:
        classes: names, in the order of their codes.

    Raises:
        ConfigError: none of the sources is named, or more than one.
        GeofmError: they cannot be opened.
    """
    from geofm import api

    said: dict[str, Any] = {"groups": flags.groups, "tell": note, **reading(flags)}
    labels = _labels(flags, classes)
    match source_of(flags):
        case "dataset":
            return _official_pairs(flags, classes, said)
        case "catalog":
            return api.open_catalog(flags.catalog, **labels, **said)
        case _:
            return api.open_pairs(flags.images, flags.labels, **labels, **said)


def each_of(flags: Namespace, classes: Sequence[str]) -> "Opened":
    """What `pairs_of` would open, with what cannot be opened said and not refused.

    Raises:
        GeofmError: as `pairs_of`, where nothing at all is found.
    """
    from geofm.datasets.layouts import find_layout
    from geofm.datasets.open import dataset_reading, find_dataset
    from geofm.pairing.catalogue import read_catalogue
    from geofm.pairing.folders import find_in_folders
    from geofm.pairing.open import Labelling, open_what_opens

    said, labelling = reading(flags), Labelling(**_labels(flags, classes))
    match source_of(flags):
        case "dataset":
            layout = find_layout(flags.dataset)
            _check_legend(flags.dataset, classes)
            labelling = replace(labelling, codes=layout.codes)
            said = dataset_reading(layout, said)
            found = find_dataset(flags.dataset, flags.root, download=flags.download)
        case "catalog":
            found = read_catalogue(flags.catalog)
        case _:
            found = find_in_folders(flags.images, flags.labels)
    return open_what_opens(found, labelling, said, groups=flags.groups)


def _labels(flags: Namespace, classes: Sequence[str]) -> dict[str, Any]:
    """Arguments of `open_labels`."""
    background = (
        IGNORE
        if flags.background is None
        else class_code(flags.background, classes, flag="--background")
    )
    return {
        "codes": stored_codes(flags, classes),
        "column": flags.column,
        "background": background,
        "ignore_edges": flags.ignore_edges,
    }


def source_of(flags: Namespace) -> Literal["dataset", "catalog", "folders"]:
    """Which of the sources of labelled scenes the flags name.

    Raises:
        ConfigError: none or more than one, or half of one.
    """
    from geofm.errors import ConfigError

    named = {
        "--dataset": flags.dataset,
        "--catalog": flags.catalog,
        "--images": flags.images or flags.labels,
    }
    found = [flag for flag, value in named.items() if value is not None]
    if len(found) != 1:
        raise ConfigError(
            f"{' and '.join(found) or 'no labelled scenes'} were given; needed one of --images "
            "with --labels, --catalog, or --dataset with --root"
        )
    halves = {
        "--labels": (flags.images, flags.labels),
        "--images": (flags.labels, flags.images),
        "--root": (flags.dataset, flags.root),
        "--dataset": (flags.root, flags.dataset),
    }
    missing = [flag for flag, (one, other) in halves.items() if one and not other]
    if missing:
        raise ConfigError(f"{missing[0]} is missing; give it too")
    if flags.dataset:
        return "dataset"
    return "catalog" if flags.catalog else "folders"


def task_of(flags: Namespace) -> "Task":
    """The task that the flags name, or that of the data set, with the legend's classes.

    Raises:
        ConfigError: none is named, or it is unknown.
    """
    from geofm.errors import ConfigError
    from geofm.legend import read_legend
    from geofm.tasks import find_task

    name = flags.task
    if name is None and flags.dataset:
        from geofm.datasets.layouts import find_layout

        name = find_layout(flags.dataset).task
    if name is None and flags.legend:
        name = "custom"
    if name is None:
        raise ConfigError("no task was named; give --task flood, burn_scar, crops or custom")
    task = find_task(name)
    return replace(task, classes=read_legend(flags.legend).classes) if flags.legend else task


def stored_codes(flags: Namespace, classes: Sequence[str]) -> dict[int | str, int] | None:
    """Stored label -> class code, as --codes or the legend's ``stored`` say."""
    if flags.codes is not None or flags.legend is None:
        return class_codes(flags.codes, list(classes))
    from geofm.legend import read_legend

    legend = read_legend(flags.legend)
    if legend.stored is None:
        return None
    names = {value: legend.classes[code].name for value, code in legend.stored.items()}
    return {value: class_code(name, classes, flag=flags.legend) for value, name in names.items()}


def class_code(name: str, classes: Sequence[str], *, flag: str) -> int:
    """The code of a class.

    Raises:
        LabelError: there is none of this name.
    """
    from geofm.errors import LabelError

    if name not in classes:
        raise LabelError(f"{flag} names {name}; the classes are {', '.join(classes)}")
    return list(classes).index(name)


def _official_pairs(
    flags: Namespace, classes: Sequence[str], said: Mapping[str, Any]
) -> "list[Pair]":
    """The pairs of a published set, whose labels are the classes asked for."""
    from geofm import api

    _check_legend(flags.dataset, classes)
    with progress_bar(f"opening {flags.dataset}") as progress:
        return api.open_dataset(
            flags.dataset,
            flags.root,
            download=flags.download,
            ignore_edges=flags.ignore_edges,
            progress=lambda share: progress(share, f"fetching {flags.dataset}"),
            **said,
        )


def _check_legend(name: str, classes: Sequence[str]) -> None:
    """The labels of a published set are the classes asked for.

    Raises:
        LabelError: they are not.
    """
    from geofm.datasets.layouts import find_layout
    from geofm.errors import LabelError
    from geofm.tasks import find_task

    names = [kind.name for kind in find_task(find_layout(name).task).classes]
    if list(classes) != names:
        raise LabelError(
            f"{name} labels {', '.join(names)}; the model's or legend's classes are "
            f"{', '.join(classes)}; needed the same in the same order"
        )


def note(sentence: str) -> None:
    """Tell people something beside the result, which machines may read."""
    print(f"note: {sentence}", file=sys.stderr)
