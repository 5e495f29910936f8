"""Promise 2 in real processes: the peak over the model itself, whatever the size of the scene."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "memory.py"


def peak(height: int, width: int, classes: int, dates: int, gib: float | str = 2.0) -> int:
    """MiB over the model, in a process of its own."""
    words = [str(word) for word in (height, width, classes, dates, gib)]
    result = subprocess.run(
        [sys.executable, BENCH, *words], capture_output=True, text=True, check=True
    )
    print(result.stdout)
    return json.loads(result.stdout)["peak_over_model_mib"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("height", "width", "classes", "dates", "gib"),
    [
        (2048, 2048, 2, 1, 2.0),
        (256, 40_000, 100, 1, 2.0),
        (256, 40_000, 13, 4, 2.0),
        (512, 16_384, 13, 1, 1.0),
    ],
)
def test_the_peak_stays_below_the_ceiling(height, width, classes, dates, gib):
    assert peak(height, width, classes, dates, gib) < gib * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
def test_the_peak_does_not_grow_with_the_height():
    """Four times the rows, GDAL's caches being full in both: what the allocator varies by."""
    assert peak(32_768, 1024, 2, 1) < 1.2 * peak(8192, 1024, 2, 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
def test_a_cube_on_dask_is_mapped_in_memory_that_does_not_grow():
    pytest.importorskip("zarr")
    large = peak(12_288, 2048, 2, 1, "dask")
    assert large < 2048
    assert large < 1.3 * peak(6144, 2048, 2, 1, "dask")
