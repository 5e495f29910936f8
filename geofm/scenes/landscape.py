"""Seeded landscapes with known truth, to tell stories of: a fire, and a season of crops.

They are made, not measured: spectra are rounded from what such surfaces reflect, and hills,
fields, vigour and haze vary them, so that classes overlap as they do on real ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine

from geofm.scenes.synthetic import write_codes, write_reflectance
from geofm.tasks import IGNORE, SHARED_BANDS, MapClass

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

RESOLUTION = 30.0
"""Side of a pixel, metres, as HLS has it."""

# Surface reflectance in SHARED_BANDS: blue, green, red, nir08, swir16, swir22.
FOREST = (0.02, 0.04, 0.03, 0.28, 0.13, 0.06)
GRASS = (0.04, 0.07, 0.06, 0.27, 0.21, 0.12)
GREEN_CROP = (0.03, 0.07, 0.04, 0.44, 0.20, 0.09)
STRAW = (0.07, 0.12, 0.16, 0.30, 0.34, 0.22)
SOIL = (0.07, 0.10, 0.13, 0.19, 0.26, 0.21)
DARK_SOIL = (0.04, 0.05, 0.06, 0.10, 0.14, 0.12)
WATER = (0.04, 0.04, 0.03, 0.02, 0.01, 0.01)
ASH = (0.04, 0.05, 0.06, 0.11, 0.18, 0.17)

CROPS = (
    MapClass("grassland", "#a3c585"),
    MapClass("forest", "#1b6b36"),
    MapClass("corn", "#f2c80f"),
    MapClass("soybeans", "#d55e00"),
    MapClass("winter wheat", "#56b4e9"),
    MapClass("fallow", "#bfbf7a"),
)
"""What `make_season` grows, in the order of its codes."""


@dataclass(frozen=True, slots=True)
class _Growth:
    """A crop's year: days at which half of its leaves have come and gone, and how many it has."""

    green_up: float
    ripe: float
    leaves: float
    canopy: tuple[float, ...] = GREEN_CROP
    # Nothing is green before and after: soil in spring, straw once it is ripe.
    before: tuple[float, ...] = SOIL
    after: tuple[float, ...] = STRAW


_GROWTH = (
    _Growth(95, 300, 0.8, GRASS, GRASS, GRASS),
    _Growth(100, 310, 0.9, FOREST, FOREST, FOREST),
    _Growth(163, 272, 0.9),
    _Growth(180, 252, 0.9, (0.03, 0.08, 0.04, 0.46, 0.22, 0.10)),
    _Growth(75, 178, 0.85),
    _Growth(150, 290, 0.35, GRASS, SOIL, SOIL),
)
VARIETY = 0.18
"""Spread of a field's reflectance about its crop's, as a share of it."""
SEASON = (date(2023, 4, 20), date(2023, 6, 12), date(2023, 7, 20), date(2023, 9, 8))
"""Days of a made season, which tell the crops of `CROPS` apart together, and not one by one."""


def make_fire(scene: str | Path, labels: str | Path, *, height: int, width: int, seed: int) -> None:
    """Write hills after a fire, and where it burned.

    Some of what did not burn is as dark: lakes, ploughed soil, slopes in shadow. Some of
    what did burned lightly.

    Args:
        scene: a GeoTIFF of `SHARED_BANDS`, surface reflectance, 30 m.
        labels: a GeoTIFF of codes: 1 burn scar, 0 not burned.
        height, width: pixels.
        seed: the same gives the same files.
    """
    rng = np.random.default_rng(seed)
    heights = _rough(rng, height, width, roughness=2.0)
    cover = _rough(rng, height, width, roughness=1.5)
    fields = _fields(rng, height, width, side=14)
    ploughed = rng.random(fields.max() + 1)[fields]
    lake = heights < np.quantile(heights, 0.04)
    farmed = (heights < np.quantile(heights, 0.35)) & ~lake
    kinds = np.where(farmed, np.where(ploughed < 0.3, 3, 2), np.where(cover > -0.3, 0, 1))
    spectra = np.array([FOREST, GRASS, GRASS, DARK_SOIL])[kinds]

    # The fire ran from where it began, further where the ground let it, and spared islands.
    rows, cols = np.mgrid[:height, :width]
    at = rng.uniform(0.35, 0.65, 2) * (height, width)
    far = np.hypot((rows - at[0]) / height, (cols - at[1]) / width)
    fierce = 1.6 - 5.5 * far + 0.55 * _rough(rng, height, width, roughness=1.6)
    severity = np.clip(fierce, 0, 1) * (rng.normal(0, 0.05, far.shape) + 0.9)
    severity = np.where(farmed | lake, 0.0, np.clip(severity, 0, 1))
    spectra = spectra + severity[..., None] * (np.array(ASH) - spectra)

    spectra[lake] = WATER
    spectra *= _light(heights)[..., None]
    grid = _grid(seed)
    write_reflectance(
        scene, _seen(rng, spectra)[None], SHARED_BANDS, [date(2023, 9, 2)], transform=grid
    )
    write_codes(labels, (severity > 0.3).astype(np.uint8), transform=grid)


def make_season(
    scene: str | Path,
    labels: str | Path,
    *,
    height: int,
    width: int,
    seed: int,
    days: Sequence[date] = SEASON,
    cloudy: Sequence[float] = (),
) -> None:
    """Write a season over fields, and what grew there.

    Fields are sown a week or two apart, and no two are equally lush.

    Args:
        scene: a GeoTIFF of `SHARED_BANDS` on each day, surface reflectance, 30 m.
        labels: a GeoTIFF of codes of `CROPS`; the edges between fields are unlabelled.
        height, width: pixels.
        seed: the same gives the same files.
        cloudy: share of each day's ground that clouds hide, stored as no data; none if empty.
    """
    rng = np.random.default_rng(seed)
    fields = _fields(rng, height, width, side=16)
    count = int(fields.max()) + 1
    kinds = rng.choice(len(CROPS), count, p=(0.16, 0.12, 0.26, 0.22, 0.16, 0.08))
    late, lush = rng.normal(0, 9, count), rng.normal(1, 0.15, count)
    patchy = 1 + 0.12 * _rough(rng, height, width, roughness=1.5)
    layers = []
    for day in days:
        when = day.timetuple().tm_yday
        field = np.array(
            [_leaves(_GROWTH[k], when, late[at], lush[at]) for at, k in enumerate(kinds)]
        )
        # Rain, tilling and variety give each field a colour of its own on each day.
        field *= np.exp(rng.normal(0, VARIETY, field.shape))
        haze = 1 + rng.normal(0, 0.03)
        layers.append(_seen(rng, field[fields] * patchy[..., None] * haze))
    hidden = [
        _most_cloudy(_rough(rng, height, width, roughness=1.8), share)
        for share in (cloudy or [0.0] * len(days))
    ]
    grid = _grid(seed)
    write_reflectance(
        scene, np.stack(layers), SHARED_BANDS, days, transform=grid, valid=~np.stack(hidden)
    )
    codes = kinds[fields].astype(np.uint8)
    codes[_edges(fields)] = IGNORE
    write_codes(labels, codes, transform=grid)


def _grid(seed: int) -> Affine:
    """Each seed has ground of its own: what one has taught may be tested on another."""
    return Affine(RESOLUTION, 0, 500_000, 0, -RESOLUTION, 5_900_000 - 40_000 * (seed % 100))


def _leaves(growth: _Growth, when: int, late: float, lush: float) -> Doubles:
    """The spectrum of a field on a day of the year, (C,)."""
    came = _sigmoid((when - growth.green_up - late) / 9)
    gone = _sigmoid((when - growth.ripe - late) / 8)
    green = np.clip(growth.leaves * lush, 0, 1) * came * (1 - gone)
    ground = np.array(growth.before) * (1 - gone) + np.array(growth.after) * gone
    mixed: Doubles = ground + green * (np.array(growth.canopy) - ground)
    return mixed


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _rough(rng: np.random.Generator, height: int, width: int, *, roughness: float) -> Doubles:
    """Hills or clouds (H, W), mean 0 and deviation 1: noise, less of it the finer it is.

    Args:
        roughness: power with which amplitude falls with frequency; 2 is smooth.
    """
    # Made on a larger torus, so that opposite sides do not match.
    shape = (2 * height, 2 * width)
    noise = np.fft.rfft2(rng.normal(size=shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    # The longest waves are a third of the whole, so that each scene has several hills.
    field = np.fft.irfft2(noise / np.maximum(frequency, 3 / max(shape)) ** roughness, shape)
    cut: Doubles = field[:height, :width]
    scaled: Doubles = (cut - cut.mean()) / cut.std()
    return scaled


def _fields(rng: np.random.Generator, height: int, width: int, *, side: int) -> Ints:
    """Numbers of fields (H, W): whose middle is nearest, by the longer of two slanted ways."""
    count = max(height * width // side**2, 2)
    turn = rng.uniform(0, np.pi / 2)
    middles = rng.random((count, 2)) * (height, width)
    nearest = np.full((height, width), np.inf)
    found = np.zeros((height, width), np.int64)
    for at, (row, col) in enumerate(middles):
        # None reaches further: so many middles leave no gap of this size.
        rows = np.arange(max(int(row) - 5 * side, 0), min(int(row) + 5 * side, height))
        cols = np.arange(max(int(col) - 5 * side, 0), min(int(col) + 5 * side, width))
        down, across = (rows - row)[:, None], cols - col
        one = np.abs(down * np.cos(turn) + across * np.sin(turn))
        other = np.abs(across * np.cos(turn) - down * np.sin(turn))
        way, here = np.maximum(one, other), np.ix_(rows, cols)
        closer = way < nearest[here]
        nearest[here] = np.where(closer, way, nearest[here])
        found[here] = np.where(closer, at, found[here])
    assert np.isfinite(nearest).all()
    return found


def _edges(fields: Ints) -> npt.NDArray[np.bool_]:
    """Pixels whose field is not that of each neighbour, (H, W)."""
    edge = np.zeros(fields.shape, bool)
    for axis in (0, 1):
        differs = np.diff(fields, axis=axis) != 0
        before = [slice(None), slice(None)]
        after = [slice(None), slice(None)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= differs
        edge[tuple(after)] |= differs
    return edge


def _light(heights: Doubles) -> Doubles:
    """Sunlight on slopes (H, W): the sun stands in the south-east."""
    down, across = np.gradient(heights)
    slope: Doubles = 6 * (across - down) / np.sqrt(2)
    return np.clip(1 + slope, 0.35, 1.25)


def _most_cloudy(clouds: Doubles, share: float) -> npt.NDArray[np.bool_]:
    return clouds > np.quantile(clouds, 1 - share) if share else np.zeros(clouds.shape, bool)


def _seen(rng: np.random.Generator, spectra: Doubles) -> npt.NDArray[np.float32]:
    """What a sensor sees of spectra (H, W, C): (C, H, W), edges mixed, and a little noise."""
    seen = spectra.transpose(2, 0, 1)
    for axis in (1, 2):
        padded = np.pad(seen, [(int(a == axis),) * 2 for a in range(3)], "edge")
        before, after = (
            np.take(padded, np.arange(start, start + seen.shape[axis]), axis) for start in (0, 2)
        )
        seen = 0.25 * before + 0.5 * seen + 0.25 * after
    noisy = seen * rng.normal(1, 0.03, seen.shape) + rng.normal(0, 0.004, seen.shape)
    return np.clip(noisy, 0.001, 1).astype(np.float32)
