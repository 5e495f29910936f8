"""Reference points: written to be labelled by people, and read back.

Two files. ``points.gpkg`` (or ``.parquet``, ``.csv``) is for whoever labels: where each point
lies, and an empty column ``reference``; it does not tell what the map says there, so that
nobody is led by it. ``points.design.json`` beside it keeps what the estimate needs: how each
point was drawn, from which map. A reference of one's own may tell the same in a column
``inclusion_probability``.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

import geofm
from geofm.assess.area_design import Drawn
from geofm.assess.classmap import ClassMap, Ground, Stratum
from geofm.errors import GridError, LabelError, OutputError
from geofm.export.places import check_new_file, check_parquet
from geofm.scenes.ground import apply

SUFFIXES = (".gpkg", ".parquet", ".geoparquet", ".csv")
PROBABILITY = "inclusion_probability"
_VERSION = 1

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """How a reference was drawn.

    Attributes:
        strata: of the map it was drawn from.
        digest: of that map.
        ids: (n,) of the points.
        rows, cols: (n,) pixels of that map's grid.
        codes: (n,) stratum of each.
        probabilities: (n,) that it is in such a sample.
    """

    strata: tuple[Stratum, ...]
    digest: str
    ids: Ints
    rows: Ints
    cols: Ints
    codes: Ints
    probabilities: Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Labelled points on a map's grid.

    Attributes:
        name: of their file.
        ids: (n,) as text, for messages.
        rows, cols: (n,) pixels; some may lie outside the grid.
        lon, lat: (n,) WGS 84.
        labels: (n,) as stored, None where there is none.
        probabilities: (n,) above 0 to 1.
        drawn_in: (n,) code of the stratum each was drawn in; None where only the
            probabilities are known.
        design: as it was written with the points; None for a reference of one's own.
    """

    name: str
    ids: tuple[str, ...]
    rows: Ints
    cols: Ints
    lon: Doubles
    lat: Doubles
    labels: tuple[Any, ...]
    probabilities: Doubles
    drawn_in: Ints | None
    design: Design | None


def design_path(points: Path) -> Path:
    """Where the design of these points is kept.

    >>> str(design_path(Path("a/points.gpkg")))
    'a/points.design.json'
    """
    return points.with_suffix(".design.json")


def check_points_output(out: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot be made, before the map is read.

    Raises:
        OutputError: another kind of file, one that exists, or pyarrow is not there.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"points go into a GeoPackage, GeoParquet or CSV file, and {out.name} is none; give a "
            "name that ends in .gpkg, .parquet or .csv"
        )
    check_new_file(out, overwrite=True)
    for path in (out, design_path(out)):
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path} exists, and labels in it would be lost; choose another output, or give "
                "--overwrite to replace it"
            )
    check_parquet(out)


def write_points(out: Path, opened: ClassMap, ground: Ground, drawn: Drawn) -> None:
    """Write points to be labelled, and their design beside them; each file whole or not at all.

    Columns: ``id``, ``lon`` and ``lat`` (WGS 84), ``x`` and ``y`` (the map's CRS; the
    pixel's centre), ``reference``.

    Raises:
        OutputError: they cannot be written.
    """
    import geopandas as gpd
    import pandas as pd

    centre = np.stack([drawn.cols, drawn.rows]).astype(np.float64) + 0.5
    x, y = apply(opened.geobox.affine, centre[0], centre[1])
    lon, lat = _to_lonlat(opened.geobox).transform(x, y)
    ids = np.arange(1, len(drawn.rows) + 1)
    none = pd.array([None] * len(ids), dtype="string")
    table = pd.DataFrame({"id": ids, "lon": lon, "lat": lat, "x": x, "y": y, "reference": none})
    part = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".csv":
            table.to_csv(part, index=False)
        else:
            wkt = _crs(opened.geobox).to_wkt()
            frame = gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=wkt)
            if out.suffix.lower() == ".gpkg":
                frame.to_file(part, layer=out.stem, driver="GPKG")
            else:
                frame.to_parquet(part, index=False)
        _place_design(design_path(out), ids, opened, ground, drawn)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(out)
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith("pyogrio"):
            raise OutputError(f"cannot write {out} ({error}); choose another folder") from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _place_design(path: Path, ids: Ints, opened: ClassMap, ground: Ground, drawn: Drawn) -> None:
    facts = {
        "version": _VERSION,
        "geofm": geofm.__version__,
        "map": Path(opened.name).name,
        "map_sha256": ground.digest,
        "strata": [asdict(stratum) for stratum in ground.strata],
        "points": {
            "id": ids.tolist(),
            "row": drawn.rows.tolist(),
            "col": drawn.cols.tolist(),
            "stratum": drawn.codes.tolist(),
            PROBABILITY: drawn.probabilities.tolist(),
        },
    }
    part = path.with_name(f".{path.name}.partial")
    with part.open("w") as file:
        file.write(json.dumps(facts) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_reference(path: Path, opened: ClassMap, *, column: str = "reference") -> Reference:
    """Read labelled points, and how they were drawn.

    Args:
        path: vector file of points, or a CSV with ``lon`` and ``lat`` or ``x`` and ``y``.
        column: that holds the labels.

    Raises:
        LabelError: it is no file of points, lacks a column, has points twice or moved, or
            nobody knows how they were drawn.
        GridError: it has no CRS.
    """
    table, x, y = _read_points(path, opened.geobox)
    if column not in table.columns:
        raise LabelError(
            f"{path} has no column {column!r}; needed one that holds the labels; it has "
            f"{', '.join(str(name) for name in table.columns if name != 'geometry')}"
        )
    at_col, at_row = apply(~opened.geobox.affine, x, y)
    on_earth = np.isfinite(at_col) & np.isfinite(at_row)
    rows = np.where(on_earth, np.floor(at_row), -1).astype(np.int64)
    cols = np.where(on_earth, np.floor(at_col), -1).astype(np.int64)
    lon, lat = _to_lonlat(opened.geobox).transform(x, y)
    numbers = table["id"] if "id" in table.columns else range(1, len(table) + 1)
    ids = tuple(_name(value) for value in numbers)
    design = None
    if PROBABILITY in table.columns:
        probabilities, drawn_in = _own_probabilities(table, ids), None
    else:
        design = _read_design(path, has_ids="id" in table.columns)
        at = _in_design(path, ids, rows, cols, design=design)
        probabilities, drawn_in = design.probabilities[at], design.codes[at]
    return Reference(
        name=str(path),
        ids=ids,
        rows=rows,
        cols=cols,
        lon=np.asarray(lon),
        lat=np.asarray(lat),
        labels=tuple(_label(value) for value in table[column]),
        probabilities=probabilities,
        drawn_in=drawn_in,
        design=design,
    )


def _own_probabilities(table: Any, ids: Sequence[str]) -> Doubles:
    found = np.array([_number(value) for value in table[PROBABILITY]])
    if bad := [i for i, chance in zip(ids, found, strict=True) if not 0 < chance <= 1]:
        raise LabelError(
            f"{PROBABILITY} of {_points(bad)} is no number above 0 and up to 1; needed the chance "
            "with which each point was drawn"
        )
    return found


def _in_design(path: Path, ids: Sequence[str], rows: Ints, cols: Ints, *, design: Design) -> Ints:
    """The place of each point in the design."""
    known = {str(number): at for at, number in enumerate(design.ids)}
    if odd := [i for i, times in Counter(ids).items() if i not in known or times > 1]:
        raise LabelError(
            f"{_points(odd)} of {path} are not in its design, or stand twice; needed the points "
            "as they were drawn, since others have no known chance"
        )
    at = np.array([known[i] for i in ids], np.int64)
    moved = (design.rows[at] != rows) | (design.cols[at] != cols)
    if moved.any():
        names = [i for i, is_moved in zip(ids, moved, strict=True) if is_moved]
        raise LabelError(
            f"{_points(names)} of {path} no longer lie where they were drawn, or the map has "
            "another grid; put them back, or name the map that they were drawn from"
        )
    return at


def _read_design(points: Path, *, has_ids: bool) -> Design:
    path = design_path(points)
    if not path.is_file():
        raise LabelError(
            f"{points} does not tell how its points were drawn: it has no column {PROBABILITY}, "
            f"and {path.name} is not beside it; without inclusion probabilities no area can be "
            "estimated; draw points with `geofm area design`"
        )
    if not has_ids:
        raise LabelError(f"{points} has no column id; needed it to find its points in {path.name}")
    try:
        facts = json.loads(path.read_text())
        if facts["version"] > _VERSION:
            raise LabelError(f"{path} was written by a newer geofm ({facts['geofm']}); update it")
        drawn = facts["points"]
        return Design(
            strata=tuple(Stratum(**stratum) for stratum in facts["strata"]),
            digest=facts["map_sha256"],
            ids=np.array(drawn["id"], np.int64),
            rows=np.array(drawn["row"], np.int64),
            cols=np.array(drawn["col"], np.int64),
            codes=np.array(drawn["stratum"], np.int64),
            probabilities=np.array(drawn[PROBABILITY], np.float64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabelError(
            f"{path} is damaged ({type(error).__name__}); needed the design that was written with "
            "the points; restore it, or draw points anew"
        ) from error


def _read_points(path: Path, geobox: GeoBox) -> tuple[Any, Doubles, Doubles]:
    """A table, and the coordinates of its points in the map's CRS."""
    import geopandas
    import pandas as pd

    if not path.exists():
        raise LabelError(f"{path} does not exist; needed labelled points; check the path")
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            table = pd.read_csv(path, dtype={"reference": "string"})
        else:
            read = geopandas.read_parquet if "parquet" in suffix else geopandas.read_file
            table = read(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"{path} cannot be read as points ({reason}); check the file") from error
    if not len(table):
        raise LabelError(f"{path} holds no point; needed labelled points; check the file")
    if suffix == ".csv":
        return (table, *_csv_places(path, table, geobox))
    if not hasattr(table, "geom_type") or not (table.geom_type == "Point").all():
        raise LabelError(
            f"{path} holds other shapes than points; needed a point for each label, drawn at random"
        )
    if table.crs is None:
        raise GridError(f"{path} has no CRS; needed one to place its points; give it its CRS")
    points = table.geometry.to_crs(_crs(geobox).to_wkt())
    return table, points.x.to_numpy(np.float64), points.y.to_numpy(np.float64)


def _csv_places(path: Path, table: Any, geobox: GeoBox) -> tuple[Doubles, Doubles]:
    for across, along in (("x", "y"), ("lon", "lat")):
        if {across, along} <= set(table.columns):
            a, b = (np.array([_number(v) for v in table[c]]) for c in (across, along))
            if across == "lon":
                a, b = _to_lonlat(geobox).transform(a, b, direction="INVERSE")
            return a, b
    raise LabelError(
        f"{path} has no columns lon and lat; needed them (WGS 84), or x and y in the map's CRS"
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _label(value: Any) -> Any:
    """None for nothing: NaN, None, NA or blank."""
    import pandas as pd

    return None if pd.isna(value) or not str(value).strip() else value


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _points(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:5])
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"point{'s' if len(ids) > 1 else ''} {shown}{more}"


def _crs(geobox: GeoBox) -> CRS:
    assert geobox.crs is not None, "open_class_map asked for a CRS"
    return CRS.from_wkt(geobox.crs.to_wkt())


def _to_lonlat(geobox: GeoBox) -> Transformer:
    return Transformer.from_crs(_crs(geobox), "EPSG:4326", always_xy=True)
