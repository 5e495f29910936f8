"""Installed size and number of packages of geofm and of its peers.

    python tests/bench/install_size.py [PACKAGE...]

installs each (geofm from this folder, terratorch and torchgeo by default) in a throw-away
environment with uv and prints one JSON line. torch with its CUDA parts is counted alike for
all of them, and once more apart, because its size hides the rest.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# torch and what it brings for GPUs.
TORCH = ("torch", "triton", "nvidia_", "cuda_")


def main(names: list[str]) -> dict[str, dict[str, int]]:
    """Packages and MB (10^6 bytes) by name."""
    uv = shutil.which("uv") or str(REPOSITORY / ".uv" / "bin" / "uv")
    return {name: measure(uv, name) for name in names}


def measure(uv: str, name: str) -> dict[str, int]:
    source = str(REPOSITORY) if name == "geofm" else name
    with tempfile.TemporaryDirectory(prefix="geofm-size-") as folder:
        python = str(Path(folder) / "bin" / "python")
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, folder],
            [uv, "pip", "install", "--quiet", "--python", python, source],
        ):
            subprocess.run(command, check=True, cwd=REPOSITORY)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        sizes = {
            info.name.partition("-")[0]: size_of(site, info) for info in site.glob("*.dist-info")
        }
    torch = {package for package in sizes if package == "torch" or package.startswith(TORCH[1:])}
    return {
        "packages": len(sizes),
        "mb": round(sum(sizes.values()) / 1e6),
        "packages_beside_torch": len(sizes) - len(torch),
        "mb_beside_torch": round(sum(sizes[p] for p in sizes.keys() - torch) / 1e6),
    }


def size_of(site: Path, info: Path) -> int:
    """Bytes of the files that a package's RECORD names."""
    files = (
        line.rsplit(",", 2)[0].strip('"') for line in (info / "RECORD").read_text().splitlines()
    )
    return sum(path.stat().st_size for file in files if (path := site / file).is_file())


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:] or ["geofm", "terratorch", "torchgeo"])))
