"""The flags of ``geofm area``."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import Command, Merge, common
from geofm.cli.values import count, shares


def _area(group: Group) -> None:
    group.add_argument(
        "action",
        choices=("design", "estimate"),
        metavar="ACTION",
        help="design: draw points to be labelled; estimate: areas from labelled points",
    )
    group.add_argument("map", metavar="MAP", help="map that geofm wrote, or a raster of classes")
    group.add_argument("points", metavar="POINTS", nargs="?", help="of estimate: labelled points")


def _area_design(group: Group) -> None:
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT.gpkg",
        help="points to write (.gpkg, .parquet or .csv), with .design.json beside it",
    )
    group.add_argument("--overwrite", action="store_true", help="replace it, labels and all")
    group.add_argument(
        "--standard-error",
        metavar="X",
        type=float,
        help="wanted of the overall accuracy (default: 0.02), or of an area as a share of it (0.1)",
    )
    group.add_argument(
        "--area-of", metavar="CLASS", help="the class whose area is wanted, not the accuracy"
    )
    group.add_argument(
        "--accuracy",
        metavar="CLASS=X",
        type=shares,
        action=Merge,
        help="share of a class on the map expected to be right, such as water=0.9 (default: 0.8)",
    )
    group.add_argument(
        "--allocation",
        choices=("neyman", "proportional"),
        metavar="HOW",
        help="points to classes: neyman (default: by area and expected errors) or proportional",
    )
    group.add_argument(
        "--minimum", metavar="N", type=count, help="points in each class (default: 50)"
    )
    group.add_argument(
        "--points",
        dest="total",
        metavar="N",
        type=count,
        help="points in all, whatever error they give",
    )
    group.add_argument("--seed", metavar="N", type=int, help="the same seed, the same points")


def _area_estimate(group: Group) -> None:
    group.add_argument(
        "--column", metavar="NAME", default="reference", help="of the labels (default: reference)"
    )
    group.add_argument(
        "--skip-unlabelled",
        action="store_true",
        help="leave points without a label out, as if chance had chosen them",
    )
    group.add_argument(
        "--model", metavar="DIR.geofm", help="the map's model, where its receipt is lost"
    )


AREA = Command(
    "area",
    "tell how much ground of each class there is, from labelled points",
    "Tell how much ground of each class there is, with standard errors and 95 % intervals: "
    "a map's pixels counted, less its errors, as points drawn at random and labelled by "
    "people show them. First `design`, then label the column `reference`, then `estimate`.",
    (
        "geofm area design flood.tif -o points.gpkg --standard-error 0.01",
        "geofm area estimate flood.tif points.gpkg",
    ),
    (
        ("Input", _area),
        ("Design", _area_design),
        ("Estimate", _area_estimate),
        ("Also", common),
    ),
)
