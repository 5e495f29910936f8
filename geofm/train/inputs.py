"""What training makes of areas: one pixel contract, and normalised batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geofm.contract import PixelContract
from geofm.errors import GridError, SceneError, UnitsError
from geofm.model.coordinates import CoordinateKind, Coordinates
from geofm.scenes.match import MAX_RESOLUTION_RATIO
from geofm.scenes.reader import Scene
from geofm.tiles.area import Area
from geofm.tiles.dataset import Sample
from geofm.tiles.statistics import BandStatistics
from geofm.tiles.transforms import normalise


def contract_of(
    areas: Sequence[Area],
    statistics: BandStatistics,
    *,
    dates: int = 0,
    any_resolution: bool = False,
) -> PixelContract:
    """The pixel contract that the areas' scenes share; bands were compared before.

    Args:
        dates: of a sample, where scenes may have more; 0 for as many as each has.
        any_resolution: ground resolutions may differ; the contract states the median.

    Raises:
        UnitsError: processing levels are unknown or differ.
        GridError: a scene has no CRS and no ground size, or ground resolutions differ.
        SceneError: numbers of dates differ, or a scene has too few.
    """
    check_together([area.scene for area in areas], dates=dates, any_resolution=any_resolution)
    first = areas[0].scene
    sizes = sorted(_ground_size(area.scene) for area in areas)
    return PixelContract(
        bands=first.bands,
        level=first.level,
        mean=statistics.mean,
        std=statistics.std,
        resolution=sizes[len(sizes) // 2],
        dates=dates or len(first.dates),
    )


def check_together(scenes: Sequence[Scene], *, dates: int, any_resolution: bool) -> None:
    """Scenes mean the same by their numbers; arguments and errors as `contract_of`."""
    first = scenes[0]
    for scene in scenes:
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
        if len(scene.dates) < dates:
            raise SceneError(
                f"{scene.id} has {len(scene.dates)} dates; needed {dates}, as many as a sample; "
                "leave it out, or choose fewer"
            )
        if not dates and len(scene.dates) != len(first.dates):
            raise SceneError(
                f"{scene.id} has {len(scene.dates)} dates, {first.id} has {len(first.dates)}; "
                "train on scenes with the same number of dates, or say how many a sample has "
                "(dates=)"
            )
    sizes = sorted(map(_ground_size, scenes))
    if sizes[-1] > MAX_RESOLUTION_RATIO * sizes[0] and not any_resolution:
        raise GridError(
            f"scenes have pixels of {sizes[0]:.3g} to {sizes[-1]:.3g} m on the ground; needed "
            f"the same within a factor {MAX_RESOLUTION_RATIO:g}; warp them to one resolution, or "
            "allow it (any_resolution=True)"
        )


def _ground_size(scene: Scene) -> float:
    resolution = scene.resolution
    if resolution is None:
        raise GridError(
            f"{scene.id} has no CRS, so its pixels have no size on the ground; say it in "
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


def coordinates_of(batch: Sample, reads: Sequence[CoordinateKind]) -> Coordinates | None:
    """When and where a batch was taken, of what an encoder reads; None for one that reads none."""
    if not reads:
        return None
    return Coordinates(
        when=batch.when if "time" in reads else None,
        where=batch.where if "location" in reads else None,
    )
