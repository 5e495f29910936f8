"""What several rooms' tests share: real data where it is, and small scenes with known truth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from geofm.tasks import SHARED_BANDS

# Laws are about results: a busy machine must not fail one for its time.
settings.register_profile("geofm", deadline=None)
settings.load_profile("geofm")

REPOSITORY = Path(__file__).parent.parent

MakeScene = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes beside the repository; skips the test where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real scenes (../shared/data) are not on this machine")
    return folder


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Write a small, odd-sized, seeded GeoTIFF with a nodata corner; returns its path.

    ``make_scene("name.tif", height=61, width=83, ...)``; options as
    `geofm.scenes.synthetic.make_scene`.
    """
    from geofm.scenes import synthetic

    def write(name: str = "scene.tif", **options: Any) -> Path:
        defaults: dict[str, Any] = {"height": 61, "width": 83, "bands": SHARED_BANDS}
        return Path(synthetic.make_scene(tmp_path / name, **(defaults | options)))

    return write
