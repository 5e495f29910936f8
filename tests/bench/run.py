"""The measured table: every line measured anew, in turn, on this machine.

    make bench                          everything that needs no peer and no GPU
    python tests/bench/run.py NAME...   some lines
    python tests/bench/run.py --list

Each line is a script of this folder that prints one JSON line, in a process of its own. The
machine and the versions stand above the table, because a figure without them means nothing.
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
# Name -> script and arguments; the order of the table.
LINES = {
    "start": ["startup.py"],
    "data-road": ["data_road.py"],
    "few-labels": ["few_labels.py"],
    "memory-2048": ["memory.py", "2048", "2048", "13", "4"],
    "memory-16384": ["memory.py", "16384", "16384", "2", "1", "1"],
    "memory-wide": ["memory.py", "512", "40000", "100", "1"],
}
# Those that install other packages; run when named.
BY_NAME = {
    "batch": ["batch_scaling.py"],  # wants a machine with two idle cores
    "batch-chaos": ["batch_chaos.py"],
    "ceiling": ["map_ceiling.py"],
    "install": ["install_size.py"],
    "map-100m": ["map_peer.py", "2048", "1", "100m"],  # TerraTorch in .peers
    "map-300m": ["map_peer.py", "1024", "1", "300m"],
    "map-device": ["map_device.py"],  # a GPU against the CPU
    "map-small": ["map_small.py"],
    "products": ["products.py"],  # needs the real products of ../shared/data
    "mae-step": ["mae_step.py"],  # TerraTorch in .peers
    "reader": ["map_reader.py"],  # TorchGeo too where .peers has it
    "seams": ["map_seams.py"],  # wants the demo's model: make demo
    "prithvi": ["prithvi_against_terratorch.py"],  # TerraTorch in .peers: see its first lines
}


def main(names: list[str]) -> int:
    """Print the table; returns 1 where a line failed."""
    known = LINES | BY_NAME
    if "--list" in names:
        print("\n".join(f"{name:<14}{' '.join(words)}" for name, words in known.items()))
        return 0
    if unknown := [name for name in names if name not in known]:
        print(f"no line {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print(about_machine(), flush=True)
    print("\n| line | measured | seconds | command |\n|---|---|---|---|", flush=True)
    failed = [name for name in names or LINES if not print_line(name, known[name])]
    return 1 if failed else 0


def print_line(name: str, words: list[str]) -> bool:
    started = time.perf_counter()
    told = subprocess.run(
        [sys.executable, str(HERE / words[0]), *words[1:]],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - started
    if told.returncode == 0:
        found = shown(json.loads(told.stdout.splitlines()[-1]))
    else:
        found = f"FAILED ({told.returncode})"
    command = f"python tests/bench/{' '.join(words)}"
    print(f"| {name} | {found} | {seconds:.0f} | `{command}` |", flush=True)
    return told.returncode == 0


def shown(found: dict[str, object]) -> str:
    """``{"import_geofm": 0.02}`` as "import geofm 0.02"."""
    return ", ".join(
        f"{name.replace('_', ' ')}: {shown(value)}"
        if isinstance(value, dict)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in found.items()
    )


def about_machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("geofm", "torch", "rasterio"))
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}"
    )


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
