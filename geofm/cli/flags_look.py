"""The flags of commands that show what there is: demo, info, doctor and check."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import LABELLED, READING, Command, common, labelled, reading, task


def _demo(group: Group) -> None:
    group.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="runs/demo",
        help="folder for water.tif, water.png and water.geofm (default: runs/demo)",
    )


def _info(group: Group) -> None:
    group.add_argument(
        "path", metavar="PATH", help="a scene, product, STAC item, map, raster or model folder"
    )


def _again(group: Group) -> None:
    group.add_argument(
        "--again",
        metavar="OUT.tif",
        help="make a map again as its receipt says, and tell whether the bytes are the same",
    )
    group.add_argument(
        "--model", metavar="MODEL", help="where the model is now; what the receipt names by default"
    )
    group.add_argument(
        "--scene", metavar="SCENE", nargs="+", help="where the scene is now; by default likewise"
    )
    group.add_argument("--overwrite", action="store_true", help="replace OUT.tif where it exists")


def _check(group: Group) -> None:
    task(group)
    group.add_argument("--html", metavar="PAGE.html", help="write a page with pictures too")
    group.add_argument(
        "--allow-leakage", action="store_true", help="take a given split that leaks for what it is"
    )


DEMO = Command(
    "demo",
    "map a real scene from start to end: two minutes, offline",
    "Map a real Sentinel-2 scene from start to end, offline: pretrain a small encoder on "
    "it, fine-tune a water head on OpenStreetMap labels, map the scene, and score the "
    "part that was never seen.",
    ("geofm demo",),
    (("Output", _demo), ("Also", common)),
)

INFO = Command(
    "info",
    "show all there is to know of a scene, a map or a model",
    "Show all there is to know of a scene, a map or a model folder, on one page; for a "
    "scene also what is missing before it can be mapped. With --again a map is made again "
    "as its receipt says; the exit code is 1 where the bytes are not the same.",
    (
        "geofm info scene.tif",
        "geofm info flood.geofm --json",
        "geofm info flood.tif --again check.tif",
    ),
    (
        ("Input", _info),
        ("Making a map again", _again),
        (READING, reading),
        ("Also", common),
    ),
)

DOCTOR = Command(
    "doctor",
    "check this machine, with advice",
    "Check this machine: versions, GDAL, GPU, bfloat16, compiler, memory and disk, with "
    "advice where something would make maps faster or safer.",
    ("geofm doctor", "geofm doctor --json > machine.json"),
    (("Also", common),),
)

CHECK = Command(
    "check",
    "look at labelled scenes before anything is trained on them",
    "Look at labelled scenes: sizes, CRS, bands, units, balance of classes, shifted and "
    "empty labels, doubles, and whether given splits lie apart. What stands in the way of "
    "an honest model is a problem, and the exit code is then 1.",
    (
        "geofm check --task flood --images chips --labels water --html check.html",
        "geofm check --dataset hls_burn_scars --root DIR --json",
    ),
    (
        (LABELLED, labelled),
        ("Task and output", _check),
        (READING, reading),
        ("Also", common),
    ),
)
