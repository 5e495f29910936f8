"""Three benchmark sets as their makers publish them: names, bands, units, fills, legends, splits.

- Sen1Floods11: Bonafilia et al. (2020), "Sen1Floods11: a georeferenced dataset to train and test
  deep learning flood algorithms for Sentinel-1"; https://github.com/cloudtostreet/Sen1Floods11
- HLS Burn Scars: Phillips et al. (2023), https://doi.org/10.57967/hf/0956
- Multi-temporal Crop Classification: Cecil et al. (2023), https://doi.org/10.57967/hf/0955
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geofm.errors import DatasetError
from geofm.pairing.files import Found, PairFiles, some
from geofm.pairing.tables import read_rows
from geofm.scenes.naming import to_date

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """One set.

    Attributes:
        name: what users call it.
        task: name of the task whose classes it labels.
        title: what pages call it.
        images, labels: how their file names end, after the chip's own name.
        reading: arguments of `open_scene`.
        codes: stored label -> class code; others, such as no data, are unlabelled.
        lists: names of split files (a pattern) -> role.
        folders: names of folders -> role, where no list is there.
        describe: a chip's dates and facts, from its name and the folder of the set.
        home: where it is published.
    """

    name: str
    task: str
    title: str
    images: str
    labels: str
    reading: Mapping[str, Any]
    codes: Mapping[int | str, int]
    lists: Mapping[str, str]
    folders: Mapping[str, str]
    describe: Callable[[Path], Callable[[str], tuple[tuple[str, ...] | None, Facts]]]
    home: "Bucket | Hub"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Plain files behind an address.

    Attributes:
        address: of their folder.
        lists: files that name chips, and others to take along.
        folders: ending of a chip's file -> folder.
    """

    address: str
    lists: tuple[str, ...]
    folders: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set of the Hugging Face Hub, whose archives hold the chips."""

    repo: str
    kind: Literal["dataset"] = "dataset"


def find_chips(layout: Layout, root: str | Path) -> Found:
    """The chips of a set in a folder, however deep, with their official splits.

    A set without a test list is tested on its validation list, as its makers do: what
    chooses the weights is then set apart within training, and the test stays unseen.

    Raises:
        DatasetError: the folder is absent, or holds no chip with labels.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(
            f"there is no folder {root} of {layout.title}; give its folder, or fetch it there "
            "with --download"
        )
    images = _by_chip(root, layout.images)
    labels = _by_chip(root, layout.labels)
    names = [name for name in images if name in labels]
    if not names:
        raise DatasetError(
            f"{root} holds no chip of {layout.title} (*{layout.images} beside *{layout.labels}); "
            "needed the folder it was unpacked to; fetch it there with --download"
        )
    listed = _listed(layout, root)
    splits = listed or {name: _role_by_folder(layout, images[name]) for name in names}
    chosen = [name for name in names if name in splits]
    if not chosen:
        raise DatasetError(
            f"the split lists in {root} name none of its {len(names)} chips; needed those of "
            f"{layout.title}; fetch them anew with --download"
        )
    splits = _with_test(splits)
    describe = layout.describe(root)
    pairs = []
    for name in chosen:
        dates, facts = describe(name)
        pairs.append(
            PairFiles(
                name=name,
                images=(str(images[name]),),
                labels=str(labels[name]),
                dates=dates,
                split=splits[name],
                facts=facts,
            )
        )
    return Found(tuple(pairs), left_out=tuple(_left_out(images, names, splits)))


def _with_test(splits: Mapping[str, str]) -> dict[str, str]:
    if "test" in splits.values():
        return dict(splits)
    return {name: "test" if role == "val" else role for name, role in splits.items()}


def visible_files(root: Path) -> Iterator[Path]:
    """All files under a folder but hidden ones, such as the ``._chip.tif`` of macOS archives."""
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.is_file():
            yield path


def _by_chip(root: Path, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in visible_files(root):
        if path.name.endswith(ending):
            found.setdefault(path.name.removesuffix(ending), path)
    return found


def _listed(layout: Layout, root: Path) -> dict[str, str]:
    """Role of each chip that the set's own lists name."""
    found: dict[str, str] = {}
    for path in visible_files(root):
        role = next((role for name, role in layout.lists.items() if path.match(name)), None)
        if role is not None:
            found |= dict.fromkeys(chips_in_list(path), role)
    return found


# What lists put behind a chip's name, or not.
_ENDINGS = re.compile(r"(_S1Hand|_S2Hand|_LabelHand|_merged|[._]mask)?(\.tif)?$")


def chips_in_list(path: Path) -> list[str]:
    """The chips that a list names, one a line; columns after the first name files of theirs."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    first = [line.split(",")[0].strip().rpartition("/")[2] for line in lines]
    return [_ENDINGS.sub("", name) for name in first if name]


def _role_by_folder(layout: Layout, path: Path) -> str:
    parts = [part.lower() for part in path.parts[:-1]]
    return next((layout.folders[part] for part in reversed(parts) if part in layout.folders), "")


def _left_out(
    images: Mapping[str, Path], names: list[str], splits: Mapping[str, str]
) -> Iterator[str]:
    bare = [name for name in images if name not in names]
    if bare:
        yield f"{len(bare)} of {len(images)} images have no labels: {some(bare)}"
    unlisted = [name for name in names if name not in splits]
    if unlisted:
        yield f"{len(unlisted)} of {len(names)} chips are in no official split: {some(unlisted)}"
    absent = [name for name in splits if name not in names]
    if absent:
        yield (
            f"{len(absent)} of {len(splits)} chips of the official splits are not here, so scores "
            f"are not those of the whole set: {some(absent)}"
        )


def _flood_facts(root: Path) -> Callable[[str], tuple[tuple[str, ...] | None, Facts]]:
    """The event from a chip's name, its date from the metadata of the events."""
    dates: dict[str, str] = {}
    for path in visible_files(root):
        if path.name == "Sen1Floods11_Metadata.geojson":
            features = json.loads(path.read_text(encoding="utf-8"))["features"]
            known = (feature["properties"] for feature in features)
            dates = {
                _letters(event["location"]): event["s2_date"].replace("/", "-")
                for event in known
                if event.get("s2_date")
            }
    official = {
        chip: path.stem.split("_")[1]
        for path in visible_files(root)
        if path.match("flood_*_data.*")
        for chip in chips_in_list(path)
    }

    def describe(name: str) -> tuple[tuple[str, ...] | None, Facts]:
        event = name.partition("_")[0]
        day = dates.get(_letters(event))
        facts = {"event": event, "date": day, "list": official.get(name)}
        return (day,) if day else None, {key: text for key, text in facts.items() if text}

    return describe


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


_HLS = re.compile(r"HLS\.(?P<sensor>[SL]30)\.(?P<tile>T\w{5})\.(?P<year>\d{4})(?P<day>\d{3})")


def _burn_facts(_root: Path) -> Callable[[str], tuple[tuple[str, ...] | None, Facts]]:
    """Tile and date from a chip's name."""

    def describe(name: str) -> tuple[tuple[str, ...] | None, Facts]:
        from datetime import date, timedelta

        found = _HLS.search(name)
        if found is None:
            return None, {}
        day = date(int(found["year"]), 1, 1) + timedelta(days=int(found["day"]) - 1)
        facts = {"tile": found["tile"], "year": found["year"], "sensor": found["sensor"]}
        return (day.isoformat(),), facts

    return describe


_CROP_DATES = ("first_img_date", "middle_img_date", "last_img_date")


def _crop_facts(root: Path) -> Callable[[str], tuple[tuple[str, ...] | None, Facts]]:
    """Three dates from the table of chips."""
    table = next((path for path in visible_files(root) if path.name == "chips_df.csv"), None)
    rows = {row.get("chip_id", ""): row for row in read_rows(table)} if table else {}

    def describe(name: str) -> tuple[tuple[str, ...] | None, Facts]:
        row = rows.get(name) or rows.get(name.removeprefix("chip_")) or {}
        days = tuple(row.get(key, "")[:10] for key in _CROP_DATES)
        known = all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) and to_date(day) for day in days)
        # Without the table the dates are unknown, but still three.
        return days if known else ("", "", ""), {}

    return describe


_SIX = ("blue", "green", "red", "nir08", "swir16", "swir22")
_HUB_OWNER = "ibm-nasa-geospatial"

SEN1FLOODS11 = Layout(
    name="sen1floods11",
    task="flood",
    title="Sen1Floods11",
    images="_S2Hand.tif",
    labels="_LabelHand.tif",
    reading={
        "bands": (
            *("coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078"),
            *("nir", "nir08", "nir09", "cirrus", "swir16", "swir22"),
        ),
        "scale": 1e-4,
        "level": "toa",
        # Top-of-atmosphere numbers are above 0 wherever the sensor looked.
        "nodata": 0,
    },
    codes={0: 0, 1: 1},
    lists={
        "flood_train_data.*": "train",
        "flood_valid_data.*": "val",
        "flood_test_data.*": "test",
        # A country that nothing else is from: apart in the slices, by its list and event.
        "flood_bolivia_data.*": "test",
    },
    folders={},
    describe=_flood_facts,
    home=Bucket(
        address="https://storage.googleapis.com/sen1floods11/v1.1/",
        lists=(
            *(
                f"splits/flood_handlabeled/flood_{name}_data.csv"
                for name in ("train", "valid", "test", "bolivia")
            ),
            "Sen1Floods11_Metadata.geojson",
        ),
        folders={
            "_S2Hand.tif": "data/flood_events/HandLabeled/S2Hand/",
            "_LabelHand.tif": "data/flood_events/HandLabeled/LabelHand/",
        },
    ),
)
HLS_BURN_SCARS = Layout(
    name="hls_burn_scars",
    task="burn_scar",
    title="HLS Burn Scars",
    images="_merged.tif",
    labels=".mask.tif",
    reading={"bands": _SIX, "scale": 1.0, "level": "surface", "nodata": -9999},
    codes={0: 0, 1: 1},
    lists={"splits/train.txt": "train", "splits/val.txt": "val", "splits/test.txt": "test"},
    folders={"training": "train", "validation": "val"},
    describe=_burn_facts,
    home=Hub(f"{_HUB_OWNER}/hls_burn_scars"),
)
MULTI_TEMPORAL_CROPS = Layout(
    name="multi_temporal_crops",
    task="crops",
    title="Multi-temporal Crop Classification",
    images="_merged.tif",
    labels=".mask.tif",
    reading={"bands": _SIX, "scale": 1e-4, "level": "surface", "nodata": -9999},
    codes={stored: stored - 1 for stored in range(1, 14)},
    lists={"training_data.txt": "train", "validation_data.txt": "val"},
    folders={"training_chips": "train", "validation_chips": "val"},
    describe=_crop_facts,
    home=Hub(f"{_HUB_OWNER}/multi-temporal-crop-classification"),
)
LAYOUTS = {one.name: one for one in (SEN1FLOODS11, HLS_BURN_SCARS, MULTI_TEMPORAL_CROPS)}


def find_layout(name: str) -> Layout:
    """The set of this name.

    Raises:
        DatasetError: there is none.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(LAYOUTS)}")
    return layout
