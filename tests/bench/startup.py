"""How long `import geofm` and `geofm --help` take over a bare interpreter.

    python tests/bench/startup.py [ROUNDS]

prints one JSON line: medians of seconds, the programs run in turn. Where an environment of
the peers lies in .peers (see README.md), their imports are timed too, once.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEERS = Path(__file__).parents[2] / ".peers" / "bin" / "python"
OURS = {
    "import_geofm": ["-c", "import geofm"],
    "geofm_help": ["-m", "geofm", "--help"],
    "geofm_map_help": ["-m", "geofm", "map", "--help"],
}


def main(rounds: int) -> dict[str, float]:
    """Seconds by what was run, over a bare interpreter's."""
    programs = {"bare": ["-c", "pass"], **OURS}
    timings: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, words in programs.items():
            timings[name].append(seconds_of([sys.executable, *words]))
    medians = {name: statistics.median(times) for name, times in timings.items()}
    found = {name: medians[name] - medians["bare"] for name in OURS}
    if PEERS.exists():
        for peer in ("terratorch", "torchgeo.datasets"):
            seconds_of([str(PEERS), "-c", f"import {peer}"])  # fills the disk cache
            seconds = seconds_of([str(PEERS), "-c", f"import {peer}"])
            found[f"import_{peer}"] = seconds - medians["bare"]
    return {"bare_python": round(medians["bare"], 3)} | {
        name: round(value, 3) for name, value in found.items()
    }


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)))
