"""The flags of ``geofm finetune`` and ``geofm label-curve``."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import (
    LABELLED,
    READING,
    Command,
    common,
    labelled,
    light,
    output,
    reading,
    task,
    training,
    training_run,
    use,
)
from geofm.cli.values import count, names, whole, whole_numbers


def _finetune(group: Group) -> None:
    task(group)
    group.add_argument(
        "--encoder",
        metavar="PATH",
        help="encoder folder, geofm-small, or a published name (default: from scratch)",
    )
    output(group, "DIR.geofm", "model folder to write")
    use(group)


def _model(group: Group) -> None:
    group.add_argument(
        "--head",
        choices=("fcn", "linear", "unet", "upernet"),
        metavar="NAME",
        help="on the encoder: fcn (default), linear, unet or upernet",
    )
    group.add_argument(
        "--start",
        choices=("probe", "random"),
        metavar="HOW",
        help="probe: the head begins as the best linear reader of bands and tokens (default "
        "with fcn); or random",
    )
    group.add_argument(
        "--channels", metavar="N", type=count, help="width of the head (default: 64)"
    )
    group.add_argument(
        "--encoder-rate",
        metavar="X",
        type=float,
        help="the encoder's learning rate, as a share; 0 keeps it as it is (default: 1, and 0 "
        "where labels are too few to set any apart)",
    )
    group.add_argument(
        "--layer-decay",
        metavar="X",
        type=float,
        help="rate of each block over that of the one above it (default: 1)",
    )
    group.add_argument(
        "--lora",
        metavar="RANK",
        type=whole,
        help="train a low-rank change of the encoder alone (default: 0, not)",
    )
    group.add_argument(
        "--loss",
        choices=("ce", "focal", "dice", "ce+dice"),
        metavar="NAME",
        help="ce (cross-entropy, default), focal, dice or ce+dice",
    )
    group.add_argument(
        "--class-weights",
        choices=("none", "balanced"),
        metavar="NAME",
        help="balanced weighs rare classes more in the loss (default: none)",
    )
    group.add_argument(
        "--image-size", metavar="PX", type=count, help="side of a sample (default: the encoder's)"
    )
    light(group)
    group.add_argument(
        "--features",
        metavar="DIR",
        help="keep what an encoder at rate 0 sees, so that the next training takes seconds",
    )


def _validation(group: Group) -> None:
    group.add_argument(
        "--val",
        metavar="SHARE",
        type=float,
        default=0.2,
        help="of the labelled area, to choose the best weights by; 0 for none (default: 0.2)",
    )
    group.add_argument(
        "--patience",
        metavar="N",
        type=whole,
        help="scores without a better one until training stops; 0 for never (default: 10)",
    )
    _allow_leakage(group)


def _control(group: Group) -> None:
    group.add_argument(
        "--control",
        action="store_true",
        help="train a U-Net and a random forest too, and score all on the held-out labels",
    )
    _controls(group)


def _controls(group: Group) -> None:
    group.add_argument(
        "--unet-encoder",
        metavar="NAME",
        help="of the U-Net, such as resnet18 (default: resnet34)",
    )
    group.add_argument(
        "--unet-weights",
        metavar="NAME",
        help="that it begins with, such as imagenet, downloaded (default: random ones)",
    )


def _curve(group: Group) -> None:
    task(group)
    group.add_argument(
        "--encoder",
        metavar="PATH",
        help="encoder folder, geofm-small, or a published name (default: none)",
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="CURVE.csv",
        required=True,
        help="a row a training, kept when stopped; CURVE.png and CURVE.json come beside it",
    )


def _curve_points(group: Group) -> None:
    group.add_argument(
        "--counts",
        metavar="N,N",
        type=whole_numbers,
        help="numbers of labelled scenes (default: 1,2,4 ... and all)",
    )
    group.add_argument("--seeds", metavar="N", type=count, help="trainings a point (default: 5)")
    group.add_argument(
        "--methods",
        metavar="NAMES",
        type=names,
        help="of pretrained,scratch,unet,forest (default: all)",
    )
    group.add_argument(
        "--test",
        metavar="SHARE",
        type=float,
        default=0.3,
        help="of the area, to be scored, where labels come without a split (default: 0.3)",
    )
    _allow_leakage(group)


def _allow_leakage(group: Group) -> None:
    group.add_argument(
        "--allow-leakage",
        action="store_true",
        help="take a given split whose roles lie near each other",
    )


FINETUNE = Command(
    "finetune",
    "teach an encoder a task from a few labels",
    "Teach an encoder a task from a few labelled scenes. Images and label rasters pair "
    "by file name; polygons and points are drawn on every image that they touch.",
    (
        "geofm finetune --task flood --images chips --labels labels -o flood.geofm",
        "geofm finetune --task flood --images chips --labels water.gpkg \\\n"
        "        --codes 'lake=water,field=not water' --column kind -o flood.geofm",
        "geofm finetune --dataset sen1floods11 --root DIR --download -o flood.geofm",
    ),
    (
        (LABELLED, labelled),
        ("Task and output", _finetune),
        ("Model", _model),
        ("Validation", _validation),
        ("Controls", _control),
        ("Training", training),
        ("How it runs", training_run),
        (READING, reading),
        ("Also", common),
    ),
)

LABEL_CURVE = Command(
    "label-curve",
    "plot scores against the number of labels, beside controls",
    "Plot scores against the number of labels: a pretrained encoder, its twin with random "
    "weights, a U-Net and a random forest learn from 1, 2, 4 ... labelled scenes, drawn "
    "anew for each seed, and are scored on the same ground. Finished trainings are kept: "
    "the same command goes on where it was stopped.",
    (
        "geofm label-curve --task flood --images chips --labels labels \\\n"
        "        --encoder encoder.geofm -o curve.csv",
    ),
    (
        (LABELLED, labelled),
        ("Task and output", _curve),
        ("Curve", _curve_points),
        ("Controls", _controls),
        ("Training", training),
        (READING, reading),
        ("Also", common),
    ),
)
