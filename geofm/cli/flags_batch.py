"""The flags of ``geofm batch``."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import READING, Command, common, reading_for_model, running, use
from geofm.cli.values import count, whole


def _batch(group: Group) -> None:
    group.add_argument("model", metavar="MODEL", help="model folder")
    group.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="folder of scenes, list (.txt), catalogue (.csv, .parquet), STAC collection (.json)",
    )
    group.add_argument("-o", "--output", metavar="DIR", required=True, help="folder of the maps")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="make maps again that another model or recipe made, or whose scene has changed",
    )
    group.add_argument("--probabilities", action="store_true", help="write them for each map too")
    group.add_argument(
        "--estimate",
        action="store_true",
        help="map nothing: tell in a minute how long it will take, and what it needs",
    )
    use(group)


def _workers(group: Group) -> None:
    group.add_argument(
        "--workers",
        metavar="N",
        type=whole,
        help="processes (default: one a GPU; else one a core, as far as memory goes); 0: only "
        "this one",
    )
    group.add_argument(
        "--threads",
        metavar="N",
        type=count,
        default=1,
        help="of each worker on a CPU; part of the recipe, as workers are not (default: 1)",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, such as tcp://host:8786, whose workers share the disk; local "
        "starts one here",
    )
    group.add_argument(
        "--tries",
        metavar="N",
        type=count,
        default=3,
        help="of a scene that fails, before it is set aside (default: 3)",
    )


BATCH = Command(
    "batch",
    "map thousands of scenes, on one machine or many",
    "Map every scene of a manifest into a folder, in worker processes or on a Dask cluster. The "
    "same command again goes on where it ended: whole maps of this model and recipe are kept. A "
    "scene that fails is tried again, then set aside with its reason, and the exit code is 3. "
    "collection.json lists all maps, classes.vrt shows them as one, and ledger.sqlite tells how "
    "each scene went.",
    (
        "geofm batch flood.geofm scenes -o maps",
        "geofm batch flood.geofm search.json -o maps --workers 8 --memory 1GiB",
        "geofm batch flood.geofm scenes.parquet -o maps --scheduler tcp://node1:8786",
    ),
    (
        ("Input and output", _batch),
        ("Workers", _workers),
        ("How each runs", running),
        (READING, reading_for_model),
        ("Also", common),
    ),
)
