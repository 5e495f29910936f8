"""Pretrain a small encoder on real scenes: encoder.py [OUT.geofm].

Reads ../shared/data; takes an hour on one core. Scenes of open licences only, and their
training halves only (`sets.unlabelled`). At the end the autoencoder is scored on the other
halves, and a picture of what it rebuilds there is saved beside the folder.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from sets import bark_beetle, fires, flood_water, unlabelled

from geofm.assess.rebuild import RebuildScore, rebuild_samples, rebuild_score
from geofm.contract import PixelContract
from geofm.model.folder import save_encoder
from geofm.model.mae import MaskedAutoencoder
from geofm.plot.ink import save_figure
from geofm.plot.rebuilt import draw_rebuilt
from geofm.scenes.match import masked_as
from geofm.tiles.area import areas_of
from geofm.tiles.dataset import TileDataset, valid_spots
from geofm.tiles.statistics import measure_statistics
from geofm.train.config import EncoderShape, PretrainConfig
from geofm.train.pretrain import new_autoencoder, pretrain_encoder
from geofm.train.run_folder import CHECKPOINT, Run

OUT = Path("runs") / "geofm-small.geofm"
CONFIG = PretrainConfig(
    encoder=EncoderShape(image_size=64, patch_size=8, embed_dim=128, depth=4, num_heads=4),
    steps=5000,
    batch_size=64,
    learning_rate=1.5e-3,
    warmup=0.05,
    dates=1,
    decoder_dim=128,
    decoder_depth=3,
    decoder_heads=4,
    light=0.2,
    ema=0.999,
    any_resolution=True,  # 6 to 30 m: the encoder is to help at any of them
)
LICENCES = (
    "NASA HLS v2.0 (open data)",
    "modified Copernicus Sentinel data 2019-2021 (free and open)",
    "Landsat 7, U.S. Geological Survey (public domain)",
)
UNSEEN_SAMPLES = 1024


def main(path: Path) -> None:
    torch.set_num_threads(1)  # blocks this narrow wait for threads longer than they compute
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_suffix(".run")
    run = Run(folder=folder, resume=(folder / CHECKPOINT).exists())  # a stopped run goes on
    encoder = pretrain_encoder(
        unlabelled(), CONFIG, name="geofm-small", licences=LICENCES, run=run, progress=tell
    )
    scores = scores_of(autoencoder_of(run, encoder.contract), encoder.contract, path)
    told = {f"rebuilding {name}, never seen": plain(score) for name, score in scores.items()}
    provenance = {**encoder.provenance, "scores": told}
    save_encoder(replace(encoder, provenance=provenance), path, overwrite=True)


def tell(done: float, text: str) -> None:
    """The progress, in one line."""
    print(f"\r{done:6.1%} {text:<70}", end="", file=sys.stderr, flush=True)


def autoencoder_of(run: Run, contract: PixelContract) -> MaskedAutoencoder:
    """What training came to, with the decoder, which the checkpoint alone has kept."""
    mae = new_autoencoder(CONFIG, bands=len(contract.bands), dates=contract.dates)
    kept = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
    mae.load_state_dict(kept["average"])
    return mae.eval()


def scores_of(
    mae: MaskedAutoencoder, contract: PixelContract, path: Path
) -> dict[str, RebuildScore]:
    """Of each set's unseen half, with a picture beside ``path``."""
    scores = {}
    unseen, places = unseen_samples(contract)
    for name, samples in unseen.items():
        shown = rebuild_samples(mae, samples, contract, indexes=range(4))
        figure = draw_rebuilt(shown, contract)
        save_figure(figure, path.with_name(f"{path.stem}_{name}.png"))
        scores[name] = rebuild_score(mae, samples, contract, groups=places[name])
        print(f"\n{name}\n{scores[name]}", flush=True)
    return scores


def unseen_samples(
    contract: PixelContract,
) -> tuple[dict[str, TileDataset], dict[str, list[str]]]:
    """Windows of each set's scored half, and the place that each of its scenes lies in."""
    samples, places = {}, {}
    for labelled in (flood_water(), bark_beetle(), fires()):
        pairs = labelled.test.pairs
        scenes = [masked_as(contract.masked_qa, pair.scene) for pair in pairs]
        areas = areas_of(scenes, None)
        spots = valid_spots(areas, measure_statistics(areas).valid)
        samples[labelled.name] = TileDataset(
            areas, spots, size=CONFIG.encoder.image_size, length=UNSEEN_SAMPLES, seed=1
        )
        places[labelled.name] = [pair.group for pair in pairs]
    return samples, places


def plain(score: RebuildScore) -> dict[str, object]:
    """For the card: mean squared errors in units of the training pixels' variance."""
    errors = {fill.name: round(fill.error, 4) for fill in score.fills}
    gains = {
        f"share of the error of {fill.name} taken away": {
            "value": round(fill.gain, 4),
            "interval": None
            if fill.gain_interval is None
            else [round(end, 4) for end in fill.gain_interval],
        }
        for fill in score.fills
    }
    return {"error": round(score.error, 4), **errors, **gains, "note": score.note}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
