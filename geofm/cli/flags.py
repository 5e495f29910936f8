"""The flags that commands share, by purpose, and what a command is made of."""

import argparse
from argparse import _ArgumentGroup as Group
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geofm.cli.values import count, count_or_auto, names, numbers, pairs, size, whole

LABELLED = "Scenes and their labels"
READING = "Reading scenes whose files do not say"


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


def common(group: Group) -> None:
    """Of every command."""
    group.add_argument("--json", action="store_true", help="print the result for machines")
    # Shown here; `parse` answers it before anything else is judged.
    group.add_argument("-h", "--help", action="store_true", help="show this page")


def reading(group: Group) -> None:
    """What the file of a scene does not say."""
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


def reading_for_model(group: Group) -> None:
    """The same, and the bands that may stand in for others."""
    reading(group)
    group.add_argument(
        "--accept",
        metavar="NEED=HAVE",
        type=pairs,
        action=Merge,
        help="let a similar band stand in, such as nir08=nir; the receipt keeps it",
    )


def labelled(group: Group) -> None:
    """Where labelled scenes lie, and what their labels mean."""
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


def training(group: Group) -> None:
    """How long a training is, and how fast."""
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


def light(group: Group) -> None:
    """How samples differ from their scenes."""
    group.add_argument(
        "--light", metavar="X", type=float, help="let brightness vary by exp(X) (default: 0)"
    )


def training_run(group: Group) -> None:
    """How a training runs, and on what."""
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
        choices=("auto", "ddp", "fsdp"),
        metavar="NAME",
        help="of several devices: auto (default) or ddp, a copy of the weights on each; fsdp, "
        "which spreads them, for encoders that fill a device's memory",
    )


def output(group: Group, metavar: str, text: str) -> None:
    """A path to write."""
    group.add_argument("-o", "--output", metavar=metavar, required=True, help=text)
    group.add_argument("--overwrite", action="store_true", help="replace it where it exists")


def running(group: Group) -> None:
    """How a map is computed."""
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


def use(group: Group) -> None:
    """What a model or its maps are for."""
    group.add_argument(
        "--use",
        metavar="WHAT",
        help="what it is for, such as commercial; a licence that forbids it is said",
    )


def task(group: Group) -> None:
    """What is mapped."""
    group.add_argument(
        "--task", metavar="NAME", help="flood, burn_scar, crops, or custom with a --legend"
    )
