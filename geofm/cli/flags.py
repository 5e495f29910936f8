"""The commands and their flags, by purpose."""

import argparse
import re
from argparse import _ArgumentGroup as Group
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what its pages say, and its flags in groups."""

    name: str
    summary: str
    about: str
    examples: tuple[str, ...]
    groups: tuple[tuple[str, Callable[[Group], None]], ...]


class Merge(argparse.Action):
    """A flag of pairs that may stand several times; nothing said before is lost."""

    def __call__(self, _: object, flags: argparse.Namespace, value: Any, __: object = None) -> None:
        setattr(flags, self.dest, {**(getattr(flags, self.dest) or {}), **value})


# Groups that commands share.


def _common(group: Group) -> None:
    group.add_argument("--json", action="store_true", help="print the result for machines")
    # Shown here; `parse` answers it before anything else is judged.
    group.add_argument("-h", "--help", action="store_true", help="show this page")


def _reading(group: Group) -> None:
    group.add_argument("--bands", metavar="NAMES", type=names, help="such as blue,green,red,nir08")
    group.add_argument(
        "--sensor",
        metavar="NAME",
        help="sentinel-2, landsat-8-9 or landsat-4-7, where bands are named by its codes",
    )
    group.add_argument("--dates", metavar="DATES", type=names, help="such as 2020-05-01,2020-06-12")
    group.add_argument(
        "--scale", metavar="X", type=numbers, help="reflectance is stored * scale + offset: 0.0001"
    )
    group.add_argument("--offset", metavar="X", type=numbers, help="such as -0.1")
    group.add_argument(
        "--level",
        choices=("toa", "surface"),
        metavar="LEVEL",
        help="toa (top of atmosphere, L1C) or surface (L2A, HLS)",
    )
    group.add_argument(
        "--nodata", metavar="X", type=float, help="the stored number that means no data"
    )
    group.add_argument(
        "--resolution", metavar="X", type=float, help="side of a pixel, units of the CRS: 20"
    )
    group.add_argument(
        "--ground-size",
        metavar="METRES",
        type=float,
        help="side of a pixel where a file has no CRS: 30",
    )
    group.add_argument("--quality", metavar="FILE", help="a cloud mask or another quality layer")
    group.add_argument(
        "--quality-codes", metavar="KIND", help="fmask, scl, qa_pixel or cloud (any but 0)"
    )
    group.add_argument(
        "--masked-qa",
        metavar="NAMES",
        type=names,
        help="pixels to set aside, such as cloud,shadow (default: as the model asks)",
    )


def _reading_for_model(group: Group) -> None:
    _reading(group)
    group.add_argument(
        "--accept",
        metavar="NEED=HAVE",
        type=pairs,
        action=Merge,
        help="let a similar band stand in, such as nir08=nir; the receipt keeps it",
    )


def _labelled(group: Group) -> None:
    group.add_argument(
        "--images", metavar="PATH", help="folder of scenes or products, or one of them"
    )
    group.add_argument(
        "--labels",
        metavar="PATH",
        help="folder of label rasters, or a file of polygons or points",
    )
    group.add_argument(
        "--catalog",
        metavar="FILE",
        help="or a table (CSV, GeoParquet) of image, label, date, group, split, region ...",
    )
    group.add_argument(
        "--dataset",
        metavar="NAME",
        help="or sen1floods11, hls_burn_scars or multi_temporal_crops, with official splits",
    )
    group.add_argument("--root", metavar="DIR", help="folder of the --dataset")
    group.add_argument(
        "--download", action="store_true", help="fetch what is missing of the --dataset"
    )
    group.add_argument(
        "--codes",
        metavar="CODE=CLASS",
        type=pairs,
        action=Merge,
        help="what labels mean, such as '1=water,3=not water'; other labels are left out",
    )
    group.add_argument(
        "--legend", metavar="FILE", help="your classes: CSV or TOML of code,name,color,stored"
    )
    group.add_argument("--column", metavar="NAME", help="the polygons' column of labels")
    group.add_argument(
        "--background", metavar="CLASS", help="class outside all polygons (default: unlabelled)"
    )
    group.add_argument(
        "--ignore-edges",
        metavar="N",
        type=whole,
        default=0,
        help="leave out labels within N px of another class (default: 0)",
    )
    group.add_argument(
        "--groups",
        metavar="FILE:COLUMN",
        help="what may not be split: a table's column, or a fact such as event",
    )


def _training(group: Group) -> None:
    group.add_argument("--steps", metavar="N", type=count, help="optimizer steps (default: 1000)")
    group.add_argument(
        "--batch-size", metavar="N", type=count, help="samples of a step (default: 16)"
    )
    group.add_argument(
        "--learning-rate", metavar="X", type=float, help="highest of the training (default: 0.001)"
    )
    group.add_argument(
        "--seed", metavar="N", type=int, help="the same seed gives the same model (default: 0)"
    )


def _training_run(group: Group) -> None:
    group.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file of these flags and all other settings; flags override it",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on where a stopped or killed run ended"
    )
    group.add_argument(
        "--ema",
        metavar="X",
        type=float,
        help="average the weights over steps, such as 0.999 (default: 0, not)",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        metavar="WHICH",
        help="fp32, bf16, or auto (default): bf16 where the device multiplies it natively",
    )
    group.add_argument(
        "--compile",
        choices=("auto", "yes", "no"),
        metavar="WHEN",
        help="yes, no, or auto (default): on a GPU, for long trainings",
    )
    group.add_argument(
        "--accumulate",
        metavar="N",
        type=count,
        help="compute a step in N parts, for less memory and the same weights (default: 1)",
    )
    group.add_argument(
        "--recompute",
        action="store_true",
        default=None,
        help="compute parts twice, for much less memory (gradient checkpointing)",
    )
    group.add_argument(
        "--devices",
        metavar="N",
        type=count_or_auto,
        help="processes on this machine, or auto for every GPU (default: 1)",
    )
    group.add_argument(
        "--num-nodes", metavar="N", type=count, help="machines, under torchrun or SLURM"
    )
    group.add_argument(
        "--strategy",
        choices=("auto", "ddp"),
        metavar="NAME",
        help="of several devices: auto (default) or ddp, a copy of the weights on each",
    )


# Commands, in the order of a person's first day.


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


def _pretrain(group: Group) -> None:
    group.add_argument(
        "scenes",
        metavar="SCENES",
        nargs="+",
        help="folder, list (.txt), catalogue (.csv, .parquet), or files; each file is a scene",
    )
    _output(group, "DIR.geofm", "encoder folder to write")
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
    _output(group, "NAME.geofm", "model folder to write")


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


def _check(group: Group) -> None:
    group.add_argument(
        "--task", metavar="NAME", help="flood, burn_scar, crops, or custom with a --legend"
    )
    group.add_argument("--html", metavar="PAGE.html", help="write a page with pictures too")
    group.add_argument(
        "--allow-leakage", action="store_true", help="take a given split that leaks for what it is"
    )


def _finetune(group: Group) -> None:
    group.add_argument(
        "--task", metavar="NAME", help="flood, burn_scar, crops, or custom with a --legend"
    )
    group.add_argument(
        "--encoder",
        metavar="PATH",
        help="encoder folder, geofm-small, or a published name (default: from scratch)",
    )
    _output(group, "DIR.geofm", "model folder to write")
    _use(group)


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
        help="the encoder's learning rate, as a share; 0 keeps it as it is (default: 1)",
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
    group.add_argument(
        "--light", metavar="X", type=float, help="let brightness vary by exp(X) (default: 0)"
    )
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
    group.add_argument(
        "--allow-leakage",
        action="store_true",
        help="take a given split whose roles lie near each other",
    )


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
    group.add_argument(
        "--task", metavar="NAME", help="flood, burn_scar, crops, or custom with a --legend"
    )
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
    group.add_argument(
        "--allow-leakage",
        action="store_true",
        help="take a given split whose roles lie near each other",
    )


def _map(group: Group) -> None:
    group.add_argument("model", metavar="MODEL", help="model folder")
    group.add_argument("scenes", metavar="SCENE", nargs="+", help="GeoTIFF, COG or VRT, or a URL")
    _output(group, "OUT.tif", "map to write")
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
    _use(group)
    group.add_argument(
        "--estimate",
        action="store_true",
        help="map nothing: tell in some 20 s how long it will take, and what it needs",
    )


def _use(group: Group) -> None:
    group.add_argument(
        "--use",
        metavar="WHAT",
        help="what it is for, such as commercial; a licence that forbids it is said",
    )


def _evaluate(group: Group) -> None:
    group.add_argument(
        "models", metavar="MODEL", nargs="+", help="model folder; a second is compared with it"
    )
    _scored(group, usual="test")
    group.add_argument(
        "--html", metavar="OUT.html", help="write one page with tables, curves and chips"
    )
    group.add_argument(
        "--write-card", action="store_true", help="keep the scores in the model folder"
    )


def _calibrate(group: Group) -> None:
    group.add_argument("model", metavar="MODEL", help="model folder")
    _scored(group, usual="val")
    group.add_argument(
        "--coverage",
        metavar="SHARE",
        type=float,
        default=0.95,
        help="of the pixels that keep a class; the rest is unsure (default: 0.95; 1: none is)",
    )
    _output(group, "OUT.geofm", "model folder to write")


def _scored(group: Group, *, usual: str) -> None:
    group.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        metavar="WHICH",
        help=f"train, val, test or all (default: {usual} where splits are given, else all)",
    )
    group.add_argument(
        "--allow-leakage", action="store_true", help="take also what the model was trained on"
    )


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


def _output(group: Group, metavar: str, text: str) -> None:
    group.add_argument("-o", "--output", metavar=metavar, required=True, help=text)
    group.add_argument("--overwrite", action="store_true", help="replace it where it exists")


def _running(group: Group) -> None:
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        metavar="WHICH",
        help="fp32, bf16, or auto (default): bf16 where it is native and accurate",
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        type=size,
        default=2 * 1024**3,
        help="ceiling over the model itself (default: 2GiB)",
    )


LABELLED = "Scenes and their labels"
READING = "Reading scenes whose files do not say"
COMMANDS = {
    command.name: command
    for command in (
        Command(
            "demo",
            "map a real scene from start to end: two minutes, offline",
            "Map a real Sentinel-2 scene from start to end, offline: pretrain a small encoder on "
            "it, fine-tune a water head on OpenStreetMap labels, map the scene, and score the "
            "part that was never seen.",
            ("geofm demo",),
            (("Output", _demo), ("Also", _common)),
        ),
        Command(
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
                (READING, _reading),
                ("Also", _common),
            ),
        ),
        Command(
            "doctor",
            "check this machine, with advice",
            "Check this machine: versions, GDAL, GPU, bfloat16, compiler, memory and disk, with "
            "advice where something would make maps faster or safer.",
            ("geofm doctor", "geofm doctor --json > machine.json"),
            (("Also", _common),),
        ),
        Command(
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
                ("Training", _training),
                ("How it runs", _training_run),
                (READING, _reading),
                ("Also", _common),
            ),
        ),
        Command(
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
                ("Also", _common),
            ),
        ),
        Command(
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
                (LABELLED, _labelled),
                ("Task and output", _check),
                (READING, _reading),
                ("Also", _common),
            ),
        ),
        Command(
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
                (LABELLED, _labelled),
                ("Task and output", _finetune),
                ("Model", _model),
                ("Validation", _validation),
                ("Controls", _control),
                ("Training", _training),
                ("How it runs", _training_run),
                (READING, _reading),
                ("Also", _common),
            ),
        ),
        Command(
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
                ("How it runs", _running),
                (READING, _reading_for_model),
                ("Also", _common),
            ),
        ),
        Command(
            "evaluate",
            "score a model on labelled scenes, with intervals",
            "Score the maps that a model draws of labelled scenes: IoU, F1, precision, recall and "
            "accuracy with 95 % intervals by drawing groups, chips or blocks anew, what fails "
            "worst, and whether its confidence holds. What the model was trained on is refused. "
            "Two models are compared on the same blocks.",
            (
                "geofm evaluate flood.geofm --images chips --labels water --html flood.html",
                "geofm evaluate old.geofm new.geofm --catalog test.csv --split test",
            ),
            (
                ("Input and output", _evaluate),
                (LABELLED, _labelled),
                ("How it runs", _running),
                (READING, _reading_for_model),
                ("Also", _common),
            ),
        ),
        Command(
            "calibrate",
            "make a model's confidence hold, and let it say unsure",
            "Fit a temperature on labelled scenes that trained nothing, so that a confidence of "
            "90 % is right nine times in ten, and a bound below which maps hold 253, unsure, "
            "instead of a class. The weights stay.",
            (
                "geofm calibrate flood.geofm --images val --labels water -o calm.geofm",
                "geofm calibrate flood.geofm --catalog pairs.csv --coverage 0.9 -o calm.geofm",
            ),
            (
                ("Input and output", _calibrate),
                (LABELLED, _labelled),
                ("How it runs", _running),
                (READING, _reading_for_model),
                ("Also", _common),
            ),
        ),
        Command(
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
                (LABELLED, _labelled),
                ("Task and output", _curve),
                ("Curve", _curve_points),
                ("Controls", _controls),
                ("Training", _training),
                (READING, _reading),
                ("Also", _common),
            ),
        ),
        Command(
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
                ("Also", _common),
            ),
        ),
    )
}


# Values.


def size(text: str) -> int:
    """A memory size in bytes.

    >>> size("2GiB"), size("512 MB"), size("1.5g")
    (2147483648, 512000000, 1610612736)
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([kmgt]?)(i?b?)\s*", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: write a size such as 2GiB or 512MiB")
    base = 1000 if found[2] and found[3] == "b" else 1024
    power = " kmgt".index(found[2] or " ")
    number = float(found[1]) if "." in found[1] else int(found[1])
    return int(number * base**power)


def names(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> float | tuple[float, ...]:
    """A number, or one for each band between commas."""
    found = tuple(float(part) for part in text.split(","))
    return found[0] if len(found) == 1 else found


def pairs(text: str) -> dict[str, str]:
    """``a=b,c=d`` as a mapping."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(key.strip() and value.strip() for key, _, value in parts):
        raise argparse.ArgumentTypeError(f"{text}: write pairs such as nir08=nir")
    return {key.strip(): value.strip() for key, _, value in parts}


def shares(text: str) -> dict[str, float]:
    """``water=0.9,land=0.8`` as a mapping to numbers."""
    return {key: float(value) for key, value in pairs(text).items()}


def hectares(text: str) -> float:
    """An area from 0."""
    area = float(text)
    if not 0 <= area < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: write hectares from 0, such as 0.5")
    return area


def metres(text: str) -> float:
    """A length, 0 or more."""
    length = float(text)
    if not 0 <= length < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: write metres from 0, such as 20")
    return length


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 between commas."""
    return tuple(count(part) for part in names(text))


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: write a whole number from 0")
    return int(text)


def count_or_auto(text: str) -> int | str:
    """A whole number from 1, or auto."""
    return text if text == "auto" else count(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: write a whole number from 1")
    return int(text)
