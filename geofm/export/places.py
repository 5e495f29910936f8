"""Where files may be written; refused before any work is done."""

from importlib.util import find_spec
from pathlib import Path

from geofm.errors import OutputError


def check_new_file(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder, and a file that exists.

    Raises:
        OutputError: it is one.
    """
    if out.is_dir():
        raise OutputError(f"the output {out} is a folder; give a file name in it")
    if out.exists() and not overwrite:
        raise OutputError(
            f"{out} exists; choose another output, or give --overwrite to make it again"
        )


def check_parquet(out: Path) -> None:
    """Refuse GeoParquet where nothing can write it.

    Raises:
        OutputError: pyarrow is not installed.
    """
    if "parquet" in out.suffix.lower() and find_spec("pyarrow") is None:
        raise OutputError(
            "GeoParquet needs pyarrow, which is not installed; give a name that ends in .gpkg, "
            "or install it: pip install 'geofm[files]'"
        )
