"""The flags of ``geofm pretrain`` and ``geofm import``: where encoders come from."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import (
    READING,
    Command,
    common,
    light,
    output,
    reading,
    training,
    training_run,
)
from geofm.cli.values import count, names


def _pretrain(group: Group) -> None:
    group.add_argument(
        "scenes",
        metavar="SCENES",
        nargs="+",
        help="folder, list (.txt), catalogue (.csv, .parquet), or files; each file is a scene",
    )
    output(group, "DIR.geofm", "encoder folder to write")
    group.add_argument(
        "--series", action="store_true", help="scenes of one grid are dates of one scene"
    )
    group.add_argument(
        "--encoder",
        metavar="PATH",
        help="go on from this encoder folder, geofm-small, or a published one",
    )
    group.add_argument(
        "--licence", metavar="NAMES", type=names, help="of the pixels, for the model card"
    )
    group.add_argument(
        "--most-skipped",
        metavar="X",
        type=float,
        help="share of the scenes that may be left out, unusable (default: 0.1)",
    )


def _probing(group: Group) -> None:
    group.add_argument(
        "--probe-images", metavar="DIR", help="labelled scenes that a linear probe is scored on"
    )
    group.add_argument(
        "--probe-labels",
        metavar="PATH",
        help="folder of label rasters or file of polygons: class codes from 0",
    )


def _masking(group: Group) -> None:
    group.add_argument(
        "--sample-dates",
        metavar="N",
        type=count,
        help="dates of a sample, drawn where scenes have more (default: all)",
    )
    group.add_argument(
        "--mask-ratio", metavar="X", type=float, help="share of the patches hidden (default: 0.75)"
    )
    group.add_argument(
        "--masking",
        choices=("random", "tube"),
        metavar="HOW",
        help="random (default), or tube: the same places on all dates",
    )
    group.add_argument(
        "--target",
        choices=("departures", "patches", "pixels"),
        metavar="WHAT",
        help="what is rebuilt: departures from a smooth fill of what is seen (default), patches "
        "less their mean over their deviation, or pixels",
    )
    light(group)
    group.add_argument(
        "--tint",
        metavar="X",
        type=float,
        help="let the brightness of each band vary by exp(X) (default: 0)",
    )
    group.add_argument(
        "--any-resolution",
        action="store_true",
        default=None,
        help="scenes of different ground resolutions go together",
    )
    group.add_argument(
        "--image-size", metavar="PX", type=count, help="side of a sample (default: 128)"
    )
    group.add_argument(
        "--patch-size", metavar="PX", type=count, help="side of a patch, one token (default: 8)"
    )
    group.add_argument(
        "--embed-dim", metavar="N", type=count, help="width of a token (default: 192)"
    )
    group.add_argument("--depth", metavar="N", type=count, help="transformer blocks (default: 6)")
    group.add_argument(
        "--num-heads", metavar="N", type=count, help="attention heads of a block (default: 6)"
    )
    group.add_argument(
        "--coordinates",
        metavar="NAMES",
        type=names,
        help="what the encoder is told: time, location, or time,location (default: neither)",
    )


def _import(group: Group) -> None:
    group.add_argument(
        "source",
        metavar="SOURCE",
        help="weights file (.pt, .pth, .ckpt), or the name of a published model to download",
    )
    group.add_argument(
        "--as",
        dest="published",
        metavar="NAME",
        help="the published model that a renamed file is",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="TerraTorch's YAML file, or the config.json of an encoder",
    )
    output(group, "NAME.geofm", "model folder to write")


def _unsaid(group: Group) -> None:
    group.add_argument(
        "--level",
        choices=("toa", "surface"),
        metavar="LEVEL",
        help="toa or surface: the pixels that it was taught with",
    )
    group.add_argument(
        "--resolution", metavar="METRES", type=float, help="of the pixels that it was taught with"
    )
    group.add_argument("--licence", metavar="NAME", help="of the weights, such as apache-2.0")
    group.add_argument(
        "--legacy-order",
        choices=("yes", "no"),
        metavar="YES|NO",
        help="taught on the shuffled dates and bands of the first crop model (default: "
        "as published)",
    )
    group.add_argument(
        "--smp",
        choices=("0.4", "0.5"),
        metavar="VERSION",
        help="of segmentation_models.pytorch under a U-Net: 0.4 and before, or 0.5 and later",
    )


PRETRAIN = Command(
    "pretrain",
    "learn an encoder from scenes without labels",
    "Learn an encoder from scenes without labels, by masked autoencoding: most patches of "
    "a window are hidden, and rebuilt from the rest. Clouds and nodata are neither seen "
    "nor rebuilt. What cannot be used is left out by name.",
    (
        "geofm pretrain scenes -o encoder.geofm",
        "geofm pretrain hls --series --sample-dates 3 --bands blue,green,red,nir08 \\\n"
        "        --coordinates time,location -o encoder.geofm",
        "geofm pretrain scenes --encoder prithvi-eo-2.0-100m-tl -o mine.geofm",
    ),
    (
        ("Input and output", _pretrain),
        ("Samples and encoder", _masking),
        ("What it is worth", _probing),
        ("Training", training),
        ("How it runs", training_run),
        (READING, reading),
        ("Also", common),
    ),
)

IMPORT = Command(
    "import",
    "take over a published Prithvi, or a model of TerraTorch",
    "Turn published Prithvi weights, or a TerraTorch checkpoint of the same families, "
    "into a model folder that knows which pixels it needs. Nothing in the file is run.",
    (
        "geofm import prithvi-eo-2.0-300m-burnscars -o burns.geofm",
        "geofm import best.ckpt --config config.yaml --level surface --resolution 30 \\\n"
        "        -o mine.geofm",
    ),
    (
        ("Input and output", _import),
        ("What the file does not say", _unsaid),
        ("Also", common),
    ),
)
