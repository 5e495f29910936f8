"""What this machine offers a mapper, and what would make it faster or safer.

Every check looks and changes nothing. The page is for people who ask why a map
is slow, and for the bug report that follows.
"""

import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import rasterio
import torch
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from geofm import __version__
from geofm.processor import bfloat16_flags, cpu_lines

PACKAGES = ("torch", "timm", "lightning", "rasterio", "xarray", "odc-geo", "geopandas", "numpy")
DRIVERS = ("COG", "GTiff", "VRT", "JP2OpenJPEG", "netCDF", "HDF5", "Zarr")
GIB = 2**30
# The mapper's default ceiling, a small model and the libraries themselves.
ENOUGH_MEMORY = 4 * GIB
# Scratch and the map of a Sentinel-2 tile, with room to spare.
ENOUGH_DISK = 5 * GIB


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        found: in words.
        state: ``"ok"``, ``"advice"`` (it works, and could be better) or ``"problem"``.
        advice: the next step; empty when ok.
    """

    name: str
    found: str
    state: Literal["ok", "advice", "problem"] = "ok"
    advice: str = ""

    def plain(self) -> dict[str, str]:
        """As JSON takes it."""
        return asdict(self)


def examine() -> tuple[Check, ...]:
    """Look at this machine, from versions to disk."""
    return (
        *_versions(),
        _gdal(),
        _processor(),
        _bfloat16(),
        *_accelerators(),
        _compiler(),
        _memory(),
        _disk(),
    )


def _versions() -> Iterator[Check]:
    python = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("geofm", f"{__version__} on Python {python}")
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        yield Check("packages", found, "problem", f"install {', '.join(missing)}")
    else:
        yield Check("packages", found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gdal() -> Check:
    """GDAL and PROJ come with rasterio; the PROJ_DATA of another one breaks both."""
    with rasterio.Env() as env:
        drivers = env.drivers()
    found = f"{rasterio.__gdal_version__} with {', '.join(n for n in DRIVERS if n in drivers)}"
    if "COG" not in drivers:
        return Check("GDAL", found, "problem", "maps need its COG driver; reinstall rasterio")
    try:
        CRS.from_epsg(32633).to_wkt()
    except RasterioError:
        stray = ", ".join(name for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ)
        advice = f"unset {stray}" if stray else "reinstall rasterio"
        return Check("GDAL", f"{found}, but no table of CRS", "problem", advice)
    return Check("GDAL", found)


def _processor() -> Check:
    cores, allowed = os.cpu_count() or 1, available_cores()
    limits = f" ({allowed:g} of {cores} cores allowed)" if allowed < cores else f" ({cores} cores)"
    capability = torch.backends.cpu.get_cpu_capability()
    return Check("CPU", f"{_processor_name()}{limits}, {capability}, {_threads()}")


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} torch thread{'s' if count > 1 else ''}"


def _processor_name() -> str:
    for line in cpu_lines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _bfloat16() -> Check:
    if flags := bfloat16_flags():
        return Check("bfloat16", f"the CPU computes it ({', '.join(flags)}): maps take it")
    return Check("bfloat16", "this CPU emulates it, slower than float32; fp32 is used")


def _accelerators() -> Iterator[Check]:
    if not torch.cuda.is_available():
        yield _no_gpu()
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        native = (about.major, about.minor) >= (8, 0)
        kind = "bfloat16" if native else "float32 only"
        yield Check(f"GPU {index}", f"{about.name}, {about.total_memory / GIB:.0f} GiB, {kind}")


def _no_gpu() -> Check:
    if Path("/proc/driver/nvidia/version").exists():
        advice = f"torch {torch.__version__} does not see it; install a torch for its driver"
        return Check("GPU", "an NVIDIA driver, but torch finds no device", "advice", advice)
    return Check("GPU", "none; maps are computed on the CPU")


def _compiler() -> Check:
    """torch.compile turns graphs into C++, and needs Python's headers for it."""
    names = (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl")
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if compiler is None:
        advice = "install one (Debian: apt install g++) to let models be compiled"
        return Check("compiler", "no C++ compiler; models run uncompiled", "advice", advice)
    if not header.exists():
        advice = "install them (Debian: apt install python3-dev) to let models be compiled"
        return Check("compiler", f"{compiler}, without Python's headers", "advice", advice)
    return Check("compiler", compiler)


def _memory() -> Check:
    total, limit = physical_memory(), memory_limit()
    found = f"{total / GIB:.1f} GiB"
    if limit is not None and limit < total:
        found = f"{limit / GIB:.1f} GiB allowed (cgroup) of {found}"
    usable = min(total, limit or total)
    if usable < ENOUGH_MEMORY:
        size = max(256, int(usable / 2**20 / 4))
        return Check("memory", found, "advice", f"map with --memory {size}MiB")
    return Check("memory", found)


def physical_memory() -> int:
    """Bytes of memory in this machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def memory_limit() -> int | None:
    """Bytes that the control group (a container, a SLURM job) allows; None without a limit.

    The tightest of this group and the groups above it counts
    (https://docs.kernel.org/admin-guide/cgroup-v2.html; version 1 likewise).
    """
    files = [folder / "memory.max" for folder in _control_groups()]
    files += [folder / "memory.limit_in_bytes" for folder in _control_groups("memory")]
    words = [line.strip() for file in files for line in _lines(file)[:1]]
    # Version 1 says "no limit" with a number near 2^63.
    limits = [int(word) for word in words if word.isdecimal() and int(word) < 2**60]
    return min(limits, default=None)


def available_cores() -> float:
    """Cores that affinity and the control group allow."""
    allowed: float = os.cpu_count() or 1
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    for folder in _control_groups():
        for line in _lines(folder / "cpu.max")[:1]:
            quota, _, period = line.partition(" ")
            if quota.isdecimal() and period.strip().isdecimal():
                allowed = min(allowed, int(quota) / int(period))
    return allowed


def _control_groups(controller: str = "") -> list[Path]:
    """Folders of this process's group and of those above it.

    Args:
        controller: of version 1, such as ``"memory"``; version 2 has one tree for all.
    """
    root = Path("/sys/fs/cgroup") / controller
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, name = line.split(":", 2)
        if controller in controllers.split(","):
            own = root / name.lstrip("/")
            return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return [root]


def _disk() -> Check:
    """Scratch lies beside the map, so this is the disk that fills."""
    place = Path.cwd()
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.0f} GiB free here"
    if not os.access(place, os.W_OK):
        return Check("disk", f"{found}, not writable", "advice", "write maps elsewhere (-o)")
    if free < ENOUGH_DISK:
        return Check("disk", found, "advice", "free some space, or write maps elsewhere (-o)")
    return Check("disk", found)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
