"""What a map shows: classes with colours, the codes beside them, and each task's defaults."""

from dataclasses import dataclass

from geofm.errors import ConfigError

UNSURE = 253
"""Code of a map pixel whose class is too uncertain to name."""
MASKED = 254
"""Code of a map pixel that QA (cloud, shadow, ...) set aside."""
NODATA = 255
"""Code of a map pixel that was not measured."""
IGNORE = 255
"""Code of a label pixel that is neither trained on nor scored."""
MAX_CLASSES = UNSURE

CODE_NAMES = {UNSURE: "unsure", MASKED: "masked by QA", NODATA: "no data"}
CODE_COLORS = {UNSURE: "#bdbdbd", MASKED: "#e0e0e0", NODATA: "#ffffff"}


@dataclass(frozen=True, slots=True)
class MapClass:
    """One class of a map; its code is its position. ``color`` is ``#rrggbb``."""

    name: str
    color: str


@dataclass(frozen=True, slots=True)
class Task:
    """What to map, and the defaults that suit it.

    Attributes:
        classes: in the order of their codes, from 0.
        bands: common names a new model reads by default.
        dates: dates a model input holds by default.
        most_dates: how many it may hold; None for any number.
        masked_qa: QA classes that make a pixel invalid by default.
    """

    name: str
    classes: tuple[MapClass, ...]
    bands: tuple[str, ...]
    dates: int = 1
    most_dates: int | None = 1
    masked_qa: tuple[str, ...] = ("cloud",)


# The six bands that HLS, Sentinel-2 and Landsat share, and that Prithvi reads.
SHARED_BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")

FLOOD = Task(
    "flood",
    (MapClass("not water", "#e8e1d3"), MapClass("water", "#2166ac")),
    SHARED_BANDS,
    # Shadow stays: over dark water the QA takes much of a flood for shadow.
    masked_qa=("cloud", "cirrus"),
)
BURN_SCAR = Task(
    "burn_scar",
    (MapClass("not burned", "#e4ead8"), MapClass("burn scar", "#b2182b")),
    SHARED_BANDS,
    # After the fire alone, or before and after it.
    most_dates=2,
    masked_qa=("cloud", "shadow", "snow", "water"),
)
CROPS = Task(
    "crops",
    (
        MapClass("natural vegetation", "#a3c585"),
        MapClass("forest", "#1b6b36"),
        MapClass("corn", "#f2c80f"),
        MapClass("soybeans", "#267300"),
        MapClass("wetlands", "#7cafaf"),
        MapClass("developed or barren", "#9c9c9c"),
        MapClass("open water", "#4a6fa3"),
        MapClass("winter wheat", "#a56b00"),
        MapClass("alfalfa", "#e8a6c8"),
        MapClass("fallow or idle", "#bfbf7a"),
        MapClass("cotton", "#e2365f"),
        MapClass("sorghum", "#ff9e0f"),
        MapClass("other", "#6b4e9b"),
    ),
    SHARED_BANDS,
    dates=3,
    most_dates=None,
    masked_qa=("cloud", "shadow"),
)
# Whatever else one may want to map: its classes are the user's.
CUSTOM = Task("custom", (), SHARED_BANDS, most_dates=None)
TASKS = {task.name: task for task in (FLOOD, BURN_SCAR, CROPS, CUSTOM)}


def find_task(name: str) -> Task:
    """The task of this name.

    Raises:
        ConfigError: there is none.
    """
    task = TASKS.get(name)
    if task is None:
        raise ConfigError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return task


def check_dates(task: Task, count: int) -> None:
    """The task can be mapped from so many dates.

    Raises:
        ConfigError: it cannot.
    """
    if task.most_dates is not None and count > task.most_dates:
        dates = "1 date" if task.most_dates == 1 else f"1 to {task.most_dates} dates"
        raise ConfigError(
            f"the scenes have {count} dates, and {task.name} is mapped from {dates}; open scenes "
            "of so many dates, or choose the task crops or custom"
        )


def check_classes(classes: tuple[MapClass, ...]) -> tuple[MapClass, ...]:
    """The classes, if a map of one byte a pixel can hold them.

    Raises:
        ConfigError: fewer than two, more than 253, or a name stands twice.
    """
    names = [c.name for c in classes]
    if not classes:
        raise ConfigError(
            "no classes are named, and a custom map shows those of its user; give them in a "
            "file of code,name,color (--legend legend.csv)"
        )
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(f"{len(classes)} classes; a map holds 2 to {MAX_CLASSES}")
    if len(set(names)) < len(names):
        raise ConfigError(f"class names stand twice in {names}; give each class its own name")
    return classes
