"""The flags of ``geofm map``."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import READING, Command, common, output, reading_for_model, running, use
from geofm.cli.values import hectares, metres


def _map(group: Group) -> None:
    group.add_argument("model", metavar="MODEL", help="model folder")
    group.add_argument("scenes", metavar="SCENE", nargs="+", help="GeoTIFF, COG or VRT, or a URL")
    output(group, "OUT.tif", "map to write")
    group.add_argument(
        "--probabilities", action="store_true", help="write OUT_probabilities.tif too"
    )
    group.add_argument(
        "--polygons",
        metavar="OUT.gpkg",
        help="write each area as a polygon with hectares and confidence: .gpkg or .parquet",
    )
    group.add_argument(
        "--min-area",
        metavar="HA",
        type=hectares,
        default=0.0,
        help="leave out polygons below, hectares (default: 0)",
    )
    group.add_argument(
        "--simplify",
        metavar="M",
        type=metres,
        default=0.0,
        help="smooth the steps of polygons, metres, such as two pixels; neighbours keep one border",
    )
    group.add_argument(
        "--html",
        metavar="OUT.html",
        help="write one page that shows the scene under its map, to pan and zoom, offline",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on where a stopped run of this map ended"
    )
    use(group)
    group.add_argument(
        "--estimate",
        action="store_true",
        help="map nothing: tell in some 20 s how long it will take, and what it needs",
    )


MAP = Command(
    "map",
    "map a scene of any size to a GeoTIFF, in bounded memory",
    "Map a scene of any size, in bounded memory. OUT.tif holds the classes, "
    "OUT_confidence.tif how sure they are, OUT.json the receipt. Several SCENE files are "
    "one scene: its bands, or its dates.",
    (
        "geofm map flood.geofm scene.tif -o flood.tif",
        "geofm map crops.geofm 2020*.tif -o crops.tif --probabilities --memory 4GiB",
        "geofm map flood.geofm scene.tif -o flood.tif --polygons flood.gpkg --min-area 0.5",
        "geofm map flood.geofm scene.tif -o flood.tif --html flood.html",
    ),
    (
        ("Input and output", _map),
        ("How it runs", running),
        (READING, reading_for_model),
        ("Also", common),
    ),
)
