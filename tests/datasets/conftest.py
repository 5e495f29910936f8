"""Chips in the exact layouts of the three benchmark sets: names, types, fills, splits, junk."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

EVENTS = ("Bolivia", "Ghana", "Sri-Lanka")


def blobs(classes: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Class codes (side, side) in patches of an eighth of the side, all classes among them."""
    cells = rng.permutation(np.arange(64) % classes).reshape(8, 8)
    return np.kron(cells, np.ones((side // 8, side // 8), int))


def spectra(codes: np.ndarray, bands: int, rng: np.random.Generator) -> np.ndarray:
    """Reflectance (bands, H, W), a colour of its own for each class."""
    colors = np.random.default_rng(bands).uniform(0.03, 0.5, (20, bands))
    noise = rng.normal(0, 0.01, (bands, *codes.shape))
    return np.clip(np.moveaxis(colors[codes], -1, 0) + noise, 0.01, 1.2)


def write(path: Path, numbers: np.ndarray, dtype: str, crs: str, grid: Affine, nodata=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = numbers.reshape(-1, *numbers.shape[-2:])
    with rasterio.open(
        path, "w", driver="GTiff", count=len(numbers), height=numbers.shape[1],
        width=numbers.shape[2], dtype=dtype, crs=crs, transform=grid, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(numbers.astype(dtype))
    junk = path.with_name(f"._{path.name}")
    junk.write_bytes(b"\x00\x05\x16\x07 Mac OS X")


def sen1floods11(root: Path, *, side: int = 32, chips: int = 4) -> Path:
    """``chips`` an event, far apart; Bolivia apart from the other lists."""
    rng = np.random.default_rng(1)
    top = root / "v1.1"
    hand = top / "data" / "flood_events" / "HandLabeled"
    lists: dict[str, list[str]] = {name: [] for name in ("train", "valid", "test", "bolivia")}
    for number, event in enumerate(EVENTS):
        for n in range(chips):
            chip = f"{event}_{1000 * number + n}"
            step = 8.983152841195215e-05
            grid = Affine(step, 0, -60 + 20 * number, 0, -step, 10 - 2 * n)
            codes = blobs(2, side, rng)
            dn = np.rint(spectra(codes, 13, rng) * 10_000)
            labels = np.where(rng.random(codes.shape) < 0.05, -1, codes)
            dn[:, -5:, :7] = 0
            write(hand / "S2Hand" / f"{chip}_S2Hand.tif", dn, "int16", "EPSG:4326", grid)
            write(hand / "LabelHand" / f"{chip}_LabelHand.tif", labels, "int16", "EPSG:4326", grid)
            write(hand / "S1Hand" / f"{chip}_S1Hand.tif", dn[:2], "float32", "EPSG:4326", grid)
            role = "bolivia" if event == "Bolivia" else ("train", "train", "valid", "test")[n % 4]
            lists[role].append(chip)
    folder = top / "splits" / "flood_handlabeled"
    folder.mkdir(parents=True)
    for name, members in lists.items():
        rows = [f"{chip}_S1Hand.tif,{chip}_LabelHand.tif" for chip in members]
        (folder / f"flood_{name}_data.csv").write_text("\n".join(rows) + "\n")
    features = [
        {"type": "Feature", "geometry": None,
         "properties": {"location": event, "s1_date": "2018/02/16", "s2_date": "2018/02/15"}}
        for event in EVENTS
    ]  # fmt: skip
    events = {"type": "FeatureCollection", "features": features}
    (top / "Sen1Floods11_Metadata.geojson").write_text(json.dumps(events))
    return root


def hls_burn_scars(root: Path, *, side: int = 32, chips: int = 6, newer: bool = False) -> Path:
    """Old: ``training`` and ``validation``; newer: ``data`` and ``splits/*.txt``."""
    rng = np.random.default_rng(2)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for n in range(chips):
        name = f"subsetted_512x512_HLS.S30.T1{n % 10}SEH.{2018 + n % 4}{190 + n}.v1.4"
        role = ("train", "train", "val", "train", "test" if newer else "train", "val")[n % 6]
        lists[role].append(name)
        folder = root / ("data" if newer else {"train": "training", "val": "validation"}[role])
        grid = Affine(30, 0, 400_000, 0, -30, 3_500_000 + 50_000 * n)
        codes = blobs(2, side, rng)
        reflectance = spectra(codes, 6, rng)
        reflectance[:, :4, :4] = -9999
        labels = np.where(rng.random(codes.shape) < 0.02, -1, codes)
        write(folder / f"{name}_merged.tif", reflectance, "float32", "EPSG:32612", grid)
        write(folder / f"{name}.mask.tif", labels, "int16", "EPSG:32612", grid)
    if newer:
        (root / "splits").mkdir(parents=True)
        for role, members in lists.items():
            (root / "splits" / f"{role}.txt").write_text("\n".join(members) + "\n")
    return root


def multi_temporal_crops(root: Path, *, side: int = 32, chips: int = 6) -> Path:
    """Three dates of six bands; labels 0 to 13."""
    rng = np.random.default_rng(3)
    lists: dict[str, list[str]] = {"training": [], "validation": []}
    rows = [",chip_id,first_img_date,middle_img_date,last_img_date,bad_pct_max"]
    for n in range(chips):
        name = f"chip_{n:03}_{400 + n}"
        part = "validation" if n % 3 == 2 else "training"
        lists[part].append(name)
        grid = Affine(30, 0, -1_000_000 + 60_000 * n, 0, -30, 1_500_000)
        codes = blobs(13, side, rng)
        dn = np.rint(spectra(codes, 18, rng) * 10_000)
        labels = np.where(rng.random(codes.shape) < 0.02, 0, codes + 1)
        folder = root / f"{part}_chips"
        write(folder / f"{name}_merged.tif", dn, "int16", "EPSG:5070", grid)
        write(folder / f"{name}.mask.tif", labels, "int8" if n % 2 else "int16", "EPSG:5070", grid)
        rows.append(f"{n},{name},2022-03-1{n},2022-06-1{n},2022-09-1{n},0")
    for part, members in lists.items():
        (root / f"{part}_data.txt").write_text("\n".join(members) + "\n")
    (root / "chips_df.csv").write_text("\n".join(rows) + "\n")
    return root


MAKERS: dict[str, Callable[..., Path]] = {
    "sen1floods11": sen1floods11,
    "hls_burn_scars": hls_burn_scars,
    "multi_temporal_crops": multi_temporal_crops,
}


@pytest.fixture
def make_set() -> Callable[..., Path]:
    """``make_set("sen1floods11", folder, side=64, chips=4)`` writes a set; returns its folder."""
    return lambda name, root, **options: MAKERS[name](root, **options)


@pytest.fixture
def pack() -> Callable[..., Path]:
    """``pack(archive, folder, names)`` packs folders into a ``.tar.gz``, junk and all."""

    def packed(archive: Path, folder: Path, names: list[str]) -> Path:
        with tarfile.open(archive, "w:gz") as file:
            for name in names:
                file.add(folder / name, arcname=name)
        return archive

    return packed
