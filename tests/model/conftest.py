"""A small model that every folder test saves and damages."""

from pathlib import Path

import pytest
import torch

from geofm.contract import PixelContract
from geofm.model.encoder import EncoderConfig
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.model.heads import HeadConfig
from geofm.model.segmenter import build_segmenter
from geofm.tasks import FLOOD


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same weights every time."""
    torch.manual_seed(7)


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference facts (../shared/reference) are not on this machine")
    return folder


@pytest.fixture
def contract() -> PixelContract:
    return PixelContract(
        bands=FLOOD.bands,
        level="toa",
        mean=(0.11, 0.1, 0.09, 0.3, 0.2, 0.1),
        std=(0.04, 0.04, 0.05, 0.08, 0.07, 0.05),
        resolution=10.0,
        masked_qa=("cloud",),
    )


@pytest.fixture
def model(contract: PixelContract) -> TrainedModel:
    encoder = EncoderConfig(
        bands=6, image_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2
    )
    square = [[13.0, 52.0], [13.5, 52.0], [13.5, 52.5], [13.0, 52.0]]
    return TrainedModel(
        segmenter=build_segmenter(encoder, HeadConfig(classes=2, depths=(0, 1))).eval(),
        contract=contract,
        classes=FLOOD.classes,
        task="flood",
        name="Havel water",
        provenance={
            "training_footprint": {"type": "Polygon", "coordinates": [square]},
            "validation_footprint": None,
            "adapted": ["dates from 1 to 3"],
            "licences": ["ODbL"],
            "sources": ["Copernicus Sentinel-2", "OpenStreetMap"],
            "encoder": {"name": "Havel encoder"},
            "scores": {"mean_iou": 0.8},
            "seed": 3,
        },
    )


@pytest.fixture
def encoder(model: TrainedModel, contract: PixelContract) -> PretrainedEncoder:
    return PretrainedEncoder(
        encoder=model.segmenter.encoder, contract=contract, name="Havel encoder", provenance={}
    )
