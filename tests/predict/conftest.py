"""Small models with fixed random weights, and rasters of any shape, for the mapping tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from geofm.contract import PixelContract
from geofm.model.encoder import EncoderConfig
from geofm.model.folder import TrainedModel
from geofm.model.heads import HeadConfig
from geofm.model.segmenter import build_segmenter
from geofm.tasks import MapClass

SceneFolder = Callable[..., Path]
TinyModel = Callable[..., TrainedModel]
WriteRaster = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """A segmenter of a few thousand seeded weights whose classes vary over a scene."""

    def build(
        *,
        bands: tuple[str, ...] = ("red", "nir08"),
        classes: int = 3,
        dates: int = 1,
        image_size: int = 32,
        head: str = "fcn",
        min_valid_dates: int = 1,
    ) -> TrainedModel:
        torch.manual_seed(7)
        segmenter = build_segmenter(
            EncoderConfig(
                bands=len(bands),
                dates=dates,
                image_size=image_size,
                patch_size=8,
                embed_dim=32,
                depth=2,
                num_heads=2,
            ),
            HeadConfig(kind=head, classes=classes, depths=(1,), channels=16),
        ).eval()
        with torch.no_grad():  # logits of a trained model's size: margins of every kind
            for parameter in segmenter.head.parameters():
                parameter.mul_(1.6)
        return TrainedModel(
            segmenter=segmenter,
            contract=PixelContract(
                bands=bands,
                level="surface",
                mean=(0.2,) * len(bands),
                std=(0.1,) * len(bands),
                resolution=10.0,
                dates=dates,
                min_valid_dates=min_valid_dates,
            ),
            classes=tuple(MapClass(f"class {k}", f"#{k:02x}40a0") for k in range(classes)),
            task="test",
            name="tiny",
            provenance={},
            sha256=None,
        )

    return build


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """Write stored numbers (C, H, W) as a GeoTIFF that geofm opens; returns its path."""

    def write(
        dn: np.ndarray,
        name: str = "scene.tif",
        *,
        bands: tuple[str, ...] = ("red", "nir08"),
        nodata: float | None = 0,
        transform: Affine | None = None,
        crs: str | None = "EPSG:32633",
        scale: float = 1e-4,
        block: int | None = None,
        level: str = "surface",
        dates: tuple[str, ...] = (),
    ) -> Path:
        path = tmp_path / name
        layout = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {}
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(dn),
            height=dn.shape[1],
            width=dn.shape[2],
            dtype=dn.dtype,
            nodata=nodata,
            crs=crs,
            transform=transform or Affine(10, 0, 400_000, 0, -10, 5_800_000),
            compress="deflate",
            **layout,
        ) as file:
            file.write(dn)
            file.descriptions = bands * max(len(dates), 1)
            file.scales = (scale,) * len(dn)
            file.offsets = (0.0,) * len(dn)
            file.update_tags(GEOFM_LEVEL=level)
            if dates:
                file.update_tags(GEOFM_DATES=",".join(dates))
        return path

    return write


def random_dn(height: int, width: int, *, bands: int = 2, seed: int = 0) -> np.ndarray:
    """Smooth reflectances x10000 with some noise, none of them 0."""
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = [
        2000 + 1500 * np.sin(rows / (7 + b) + seed) * np.cos(cols / (11 - b)) for b in range(bands)
    ]
    noise = generator.normal(0, 150, (bands, height, width))
    return np.clip(np.stack(waves) + noise, 1, 10_000).astype(np.uint16)


@pytest.fixture(scope="session")
def dn_of() -> Callable[..., np.ndarray]:
    """`random_dn`: stored numbers of a scene."""
    return random_dn


@pytest.fixture
def scene_folder(make_scene, tmp_path: Path) -> SceneFolder:
    """Write a folder of seeded scenes, s0.tif ..., each a row higher than the one before."""

    def write(count: int, *, height: int, width: int) -> Path:
        (tmp_path / "scenes").mkdir()
        for n in range(count):
            make_scene(f"scenes/s{n}.tif", height=height + n, width=width, seed=n)
        return tmp_path / "scenes"

    return write
