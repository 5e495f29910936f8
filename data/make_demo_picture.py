"""Make README's picture of the one that `geofm demo` left: smaller, in few colours.

    geofm demo
    python data/make_demo_picture.py [PICTURE]

Writes demo.png beside itself.
"""

import sys
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).resolve().parent / "demo.png"
WIDTH, COLORS = 800, 64


def main(drawn: Path) -> None:
    """Shrink, count down the colours, write."""
    image = Image.open(drawn).convert("RGB")
    height = round(WIDTH * image.height / image.width)
    small = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLORS).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {WIDTH} x {height} px, {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/water.png"))
