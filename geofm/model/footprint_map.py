"""footprint.svg: where on Earth a model was trained, as a picture of a few kilobytes."""

from collections.abc import Sequence
from math import ceil, cos, floor, radians

from geofm.model.land import LAND
from geofm.model.schema import Footprint, MultiPolygon, Polygon

Point = tuple[float, float]
Rings = Sequence[Sequence[Point]]
_MARK, _SEA, _GROUND, _LINE, _INK = "#d55e00", "#eef3f7", "#cfd6cb", "#ffffff", "#44505a"
# The world above, from 84 degrees north to 60 south; below, its closer view.
_NORTH, _SOUTH, _CLOSE = 84, -60, 132


def footprint_svg(footprint: Footprint) -> str:
    """The world with a mark on every place; a closer view where all lie near each other.

    Args:
        footprint: longitude before latitude, degrees.
    """
    places = _places(footprint)
    west, south, east, north = _bounds(places)
    near = east - west < 30 and north - south < 20
    height = _NORTH - _SOUTH + (_CLOSE + 8 if near else 0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-180 {-_NORTH} 360 {height}" '
        f'width="720" height="{2 * height}" font-family="sans-serif">',
        "<title>Where the model was trained</title>",
        *_world(places),
    ]
    if near:
        lines += _close_view(places, (west, south, east, north))
    return "\n".join([*lines, "</svg>", ""])


def _places(footprint: Footprint) -> list[Rings]:
    match footprint:
        case Polygon():
            return [footprint.coordinates]
        case MultiPolygon():
            return list(footprint.coordinates)


def _bounds(places: Sequence[Rings]) -> tuple[float, float, float, float]:
    points = [point for rings in places for point in rings[0]]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _world(places: Sequence[Rings]) -> list[str]:
    """Sea, land, lines of 30 degrees, and marks; many places in one spot are one mark."""
    spots = set()
    for rings in places:
        west, south, east, north = _bounds([rings])
        spots.add((round((west + east) / 4) * 2, round((south + north) / 4) * 2))
    lines = " ".join(
        [f"M{x} {-_NORTH}V{-_SOUTH}" for x in range(-150, 180, 30)]
        + [f"M-180 {y}H180" for y in range(-60, 60, 30)]
    )
    return [
        f'<rect x="-180" y="{-_NORTH}" width="360" height="{_NORTH - _SOUTH}" fill="{_SEA}"/>',
        f'<path d="{" ".join(LAND.split())}" fill="{_GROUND}"/>',
        f'<path d="{lines}" fill="none" stroke="{_LINE}" stroke-width=".4"/>',
        f'<g fill="{_MARK}" fill-opacity=".75" stroke="#fff" stroke-width=".5">',
        *(f'<circle cx="{x}" cy="{-y}" r="2.2"/>' for x, y in sorted(spots)),
        "</g>",
    ]


def _close_view(places: Sequence[Rings], bounds: tuple[float, float, float, float]) -> list[str]:
    """The outlines themselves, on lines of round degrees, as wide as they are on the ground."""
    west, south, east, north = bounds
    middle = (south + north) / 2
    squeeze = max(cos(radians(middle)), 0.05)
    # Room around the places, and the proportions of the picture.
    tall = max((north - south) * 1.3, (east - west) * 1.3 * squeeze * _CLOSE / 360, 0.01)
    scale = _CLOSE / tall  # of a degree of latitude
    centre, top = (west + east) / 2, -_SOUTH + 8

    def x(longitude: float) -> float:
        return round((longitude - centre) * squeeze * scale, 2)

    def y(latitude: float) -> float:
        return round(top + _CLOSE / 2 - (latitude - middle) * scale, 2)

    step = next(
        s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if s > tall / 6
    )
    wide = 360 / scale / squeeze
    meridians = _round_steps(centre - wide / 2, centre + wide / 2, step)[1:-1]
    parallels = _round_steps(middle - tall / 2, middle + tall / 2, step)
    grid = [f"M{x(m)} {top}v{_CLOSE}" for m in meridians]
    grid += [f"M-180 {y(p)}h360" for p in parallels]
    every = max(len(meridians) // 8 + 1, 1)
    outlines = "".join(
        "M" + "L".join(f"{x(a)} {y(b)}" for a, b in ring[:-1]) + "z"
        for rings in places
        for ring in rings
    )
    names = [
        f'<text x="{x(m)}" y="{top + _CLOSE - 2}" text-anchor="middle">{_degrees(m, "EW")}</text>'
        for m in meridians[::every]
    ]
    names += [f'<text x="-178" y="{y(p) - 1}">{_degrees(p, "NS")}</text>' for p in parallels[1:]]
    return [
        f'<rect x="-180" y="{top}" width="360" height="{_CLOSE}" fill="{_SEA}"/>',
        f'<path d="{"".join(grid)}" fill="none" stroke="{_LINE}" stroke-width=".6"/>',
        f'<path d="{outlines}" fill="{_MARK}" fill-opacity=".35" fill-rule="evenodd" '
        f'stroke="{_MARK}" stroke-width=".6" stroke-linejoin="round"/>',
        f'<g fill="{_INK}" font-size="6">',
        *names,
        "</g>",
    ]


def _round_steps(low: float, high: float, step: float) -> list[float]:
    return [round(i * step, 6) for i in range(ceil(low / step), floor(high / step) + 1)]


def _degrees(value: float, letters: str) -> str:
    side = letters[0] if value > 0 else letters[1] if value < 0 else ""
    return f"{abs(value):g}°{side}"
