"""What several rooms' tests share: real data where it is, and small scenes with known truth."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from geofm.tasks import SHARED_BANDS

if TYPE_CHECKING:
    from geofm.assess.area import AreaEstimate

# Laws are about results: a busy machine must not fail one for its time.
# CI judges a change by the same cases each time; elsewhere every run looks for new ones.
settings.register_profile("geofm", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("geofm")

REPOSITORY = Path(__file__).parent.parent

MakeScene = Callable[..., Path]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test begins with one thread: small models wait for others longer than they compute."""
    import torch

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.set_num_threads(1)


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


@pytest.fixture
def areas_of() -> Callable[..., "AreaEstimate"]:
    """Areas of classes: each a name, hectares mapped, hectares, and their interval."""
    from geofm.assess.area import AreaEstimate, ClassArea, Estimate

    def build(*kinds: tuple[str, float, float, tuple[float, float]]) -> AreaEstimate:
        return AreaEstimate(
            classes=tuple(
                ClassArea(name, mapped, Estimate(area, 1.0, interval), None, None, 9)
                for name, mapped, area, interval in kinds
            ),
            overall=Estimate(0.9, 0.01, (0.88, 0.92)),
            hectares=1e4,
            confusion=np.zeros((len(kinds), len(kinds)), np.int64),
            rows=tuple(name for name, *_ in kinds),
            points=9 * len(kinds),
            masked=0.0,
            unmeasured=0.0,
            notes=(),
        )

    return build


@pytest.fixture(scope="session")
def flood_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a few thousand seeded weights, on `make_scene`'s bands and level."""
    import torch

    from geofm.contract import PixelContract
    from geofm.model.encoder import EncoderConfig
    from geofm.model.folder import TrainedModel, save_model
    from geofm.model.heads import HeadConfig
    from geofm.model.segmenter import build_segmenter
    from geofm.tasks import FLOOD

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        segmenter = build_segmenter(
            EncoderConfig(bands=6, image_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2),
            HeadConfig(kind="fcn", classes=2, depths=(0, 1), channels=8),
        )
    model = TrainedModel(
        segmenter=segmenter,
        contract=PixelContract(SHARED_BANDS, "surface", (0.15,) * 6, (0.05,) * 6, 10.0),
        classes=FLOOD.classes,
        task="flood",
        name="tiny flood",
        provenance={
            "training_footprint": {
                "type": "Polygon",
                "coordinates": [[[12.5, 52.4], [12.7, 52.4], [12.7, 52.5], [12.5, 52.4]]],
            },
            "licences": ["cc-by-4.0"],
            "sources": ["seeded weights"],
            "scores": {"mean IoU": 0.81234, "interval": [0.7, 0.9]},
        },
    )
    folder = tmp_path_factory.mktemp("models") / "flood.geofm"
    save_model(model, folder)
    return folder
