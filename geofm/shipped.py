"""What ships with geofm: in `data/` beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

ENCODERS = ("geofm-small",)
"""Encoders that geofm's own scripts trained; their folders end in ``.geofm``."""


def shipped(*names: str) -> list[Path] | None:
    """The paths of shipped files or folders; None where one of them is not here."""
    package = Path(__file__).resolve().parent
    for folder in (package / "data", package.parent / "data"):
        paths = [folder / name for name in names]
        if all(path.exists() for path in paths):
            return paths
    return None


def encoder_folder(source: str | Path) -> Path | None:
    """The folder that is meant by a path, or by the name of an encoder that ships.

    Returns:
        None, where it is neither: a published name or a file.
    """
    if str(source) in ENCODERS and (found := shipped(f"{source}.geofm")):
        return found[0]
    return Path(source) if Path(source).is_dir() else None
