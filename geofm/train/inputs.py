"""What training makes of areas: one pixel contract, and normalised batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geofm.contract import PixelContract
from geofm.errors import GridError, SceneError, UnitsError
from geofm.scenes.match import MAX_RESOLUTION_RATIO
from geofm.tiles.area import Area
from geofm.tiles.dataset import Sample
from geofm.tiles.statistics import BandStatistics
from geofm.tiles.transforms import normalise


def contract_of(areas: Sequence[Area], statistics: BandStatistics) -> PixelContract:
    """The pixel contract that the areas' scenes share; bands were compared before.

    Raises:
        UnitsError: processing levels are unknown or differ.
        GridError: a scene has no CRS, or ground resolutions differ.
        SceneError: numbers of dates differ.
    """
    first = areas[0].scene
    for scene in (area.scene for area in areas):
        if scene.level == "unknown":
            raise UnitsError(
                f"{scene.id}: processing level unknown; a model must know it; say level=toa or "
                "level=surface (--level)"
            )
        if scene.level != first.level:
            raise UnitsError(
                f"{scene.id} is {scene.level}, {first.id} is {first.level}; "
                "train on scenes of one processing level"
            )
        if len(scene.dates) != len(first.dates):
            raise SceneError(
                f"{scene.id} has {len(scene.dates)} dates, {first.id} has {len(first.dates)}; "
                "train on scenes with the same number of dates"
            )
    sizes = sorted(_ground_size(area) for area in areas)
    if sizes[-1] > MAX_RESOLUTION_RATIO * sizes[0]:
        raise GridError(
            f"scenes have pixels of {sizes[0]:.3g} to {sizes[-1]:.3g} m on the ground; "
            f"needed the same within a factor {MAX_RESOLUTION_RATIO:g}; warp them to one resolution"
        )
    return PixelContract(
        bands=first.bands,
        level=first.level,
        mean=statistics.mean,
        std=statistics.std,
        resolution=sizes[len(sizes) // 2],
        dates=len(first.dates),
    )


def _ground_size(area: Area) -> float:
    resolution = area.scene.resolution
    if resolution is None:
        raise GridError(
            f"{area.scene.id} has no CRS, so its pixels have no size on the ground; say it in "
            "metres, such as ground_size=30"
        )
    return resolution


def normalise_batch(batch: Sample, contract: PixelContract) -> Tensor:
    """What the model sees: (B, T, C, H, W) float32, by the expression that mapping uses."""
    device = batch.dn.device
    return normalise(
        batch.dn,
        batch.valid,
        scale=batch.scale,
        offset=batch.offset,
        mean=torch.tensor(contract.mean, dtype=torch.float32, device=device),
        std=torch.tensor(contract.std, dtype=torch.float32, device=device),
    )
