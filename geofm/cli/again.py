"""``geofm info MAP --again OUT.tif``: a map made again as its receipt says."""

import shlex
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geofm.cli.arguments import Result, reading
from geofm.cli.parser import UsageError, parse
from geofm.cli.progress import progress_bar
from geofm.cli.words import typed
from geofm.terminal import Style


def again(flags: Namespace, words: list[str], style: Style) -> Result:
    """Find the model and the scene that a receipt names, and map.

    Raises:
        SceneError: there is no receipt, or what it names is not here.
    """
    from geofm import api
    from geofm.predict.again import receipt_of

    receipt = receipt_of(Path(flags.path))
    then = _command(receipt)
    model = flags.model or (then.model if then else None)
    scenes = flags.scene or (then.scenes if then else None) or receipt["scene"]["paths"]
    model = _found("model", model, "--model", flags.path)
    for path in scenes:
        _found("scene", path, "--scene", flags.path)
    told = {**(reading(then) if then else {}), **reading(flags)}
    with progress_bar(f"mapping {receipt['scene'].get('id', 'the scene')} again") as progress:
        made = api.map_again(
            flags.path,
            flags.again,
            api.load_model(model),
            api.open_scene(scenes[0] if len(scenes) == 1 else list(scenes), **told),
            overwrite=flags.overwrite,
            command=typed(words),
            progress=progress,
        )
    first, *rest = str(made).splitlines()
    paint = style.good if made.same else style.bad
    page = "\n".join([first, paint(rest[0]), *rest[1:]])
    facts = {
        "map": str(made.first),
        "again": str(made.report.path),
        "same": made.same,
        "equal": dict(made.equal),
        "differing": made.differing,
        "changed": list(made.changed),
    }
    return Result(page, facts, 0 if made.same else 1)


def _command(receipt: Mapping[str, Any]) -> Namespace | None:
    """The flags of the `geofm map` that made the map; None where something else did."""
    match shlex.split(str(receipt.get("command") or "")):
        case ["geofm", "map", *rest]:
            try:
                flags = parse(["map", *rest])
            except UsageError:  # of another version
                return None
            return flags if isinstance(flags, Namespace) else None
    return None


def _found(what: str, path: str | None, flag: str, map_path: str) -> str:
    """The path, if it is an address or something stands there."""
    from geofm.errors import SceneError
    from geofm.scenes.handles import is_remote

    if path is None:
        raise SceneError(f"the receipt of {map_path} does not say where its {what} is; give {flag}")
    if not is_remote(path) and not Path(path).exists():
        raise SceneError(
            f"the receipt of {map_path} names the {what} {path}, which is not here; give {flag}, "
            "or go to the folder where the map was made"
        )
    return path
