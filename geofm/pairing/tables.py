"""Rows of a table: CSV, GeoParquet or any file of features, as texts."""

import csv
from pathlib import Path
from typing import Any

from geofm.errors import LabelError


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table, column -> text, ``""`` where a cell is empty; geometry is left out.

    Raises:
        LabelError: the file is absent, unreadable or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise LabelError(f"there is no table {path}; needed CSV or GeoParquet; check the path")
    try:
        rows = _csv_rows(path) if path.suffix.lower() in {".csv", ".tsv", ".txt"} else _frame(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LabelError(f"{path} cannot be read as a table ({reason}); check the file") from error
    if not rows:
        raise LabelError(f"{path} has no rows; needed one a pair, under a line of headings")
    return rows


def _csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        start = file.readline()
        file.seek(0)
        mark = max(",\t;", key=start.count)
        # A list of dates stands between semicolons: those of a CSV are no columns.
        mark = "," if "," in start else mark
        rows = csv.DictReader(file, delimiter=mark, skipinitialspace=True, strict=True)
        return [
            {str(key).strip(): (value or "").strip() for key, value in row.items() if key}
            for row in rows
        ]


def _frame(path: Path) -> list[dict[str, str]]:
    import geopandas
    import pandas

    if "parquet" in path.suffix.lower():
        frame = pandas.read_parquet(path)
    else:
        frame = geopandas.read_file(path, ignore_geometry=True)
    frame = frame.drop(columns=[name for name in ("geometry", "bbox") if name in frame])
    return [
        {str(name): _text(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _text(value: Any) -> str:
    import pandas

    if isinstance(value, str):
        return value.strip()
    if hasattr(value, "__len__"):  # a list of images or dates, as Parquet may hold
        return ";".join(_text(one) for one in value)
    if pandas.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if hasattr(value, "isoformat"):
        return str(value.isoformat())[:10]
    return str(value)
