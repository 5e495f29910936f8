"""Controls and label curves on generated lakes: they learn, on the same windows, and resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from geofm.assess import curve as curves
from geofm.assess.control import compare_controls
from geofm.assess.curve import drawn_order, label_curve
from geofm.assess.curve_rows import CurveConfig, CurveRow, points_of, read_rows
from geofm.assess.evaluate import evaluate_model
from geofm.errors import ConfigError, LabelError, OutputError, SplitError
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels, make_scene
from geofm.scenes.window import Window
from geofm.tasks import FLOOD
from geofm.tiles.roles import Roles
from geofm.train.config import ControlConfig, EncoderShape, FinetuneConfig
from geofm.train.control import train_control
from geofm.train.finetune import finetune_segmenter, labelled_contract

pytest.importorskip("sklearn", reason="needs the extra control")
pytest.importorskip("segmentation_models_pytorch", reason="needs the extra control")

BANDS = ("green", "nir08")
TINY = EncoderShape(image_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
QUICK = FinetuneConfig(steps=6, batch_size=4, scratch=TINY, channels=8, val_every=3)
SMALL = ControlConfig(unet_encoder="resnet18", trees=10, pixels=2000)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Six scenes of lakes, apart from each other, each with its truth."""
    from affine import Affine

    folder, found = tmp_path_factory.mktemp("lakes"), []
    for seed in range(6):
        path = make_scene(
            folder / f"s{seed}.tif", height=64, width=96, bands=BANDS, seed=seed,
            transform=Affine(10, 0, 400_000 + 9000 * seed, 0, -10, 5_800_000),
        )  # fmt: skip
        labels = make_labels(folder / f"l{seed}.tif", path, seed=seed)
        scene = open_scene(path)
        found.append(Pair(scene, open_labels(labels, scene.geobox), f"lake {seed}"))
    return found


def trained(kind: str, lakes: list[Pair], **options):
    contract = labelled_contract("flood", lakes[:3])
    return train_control(
        kind, "flood", FLOOD.classes, lakes[:3], contract=contract, image_size=32,
        config=options.pop("config", QUICK), control=SMALL, **options,
    )  # fmt: skip


def test_a_forest_learns_from_bands_alone(lakes: list[Pair]) -> None:
    forest = trained("forest", lakes)
    score = evaluate_model(forest, lakes[3:])
    assert score.mean_iou.value > 0.9  # water is dark in the near infrared
    # The same seed grows the same forest; another one another.
    again = evaluate_model(trained("forest", lakes), lakes[3:])
    assert (again.sha256, again.mean_iou) == (score.sha256, score.mean_iou)
    other = evaluate_model(trained("forest", lakes, config=replace(QUICK, seed=1)), lakes[3:])
    assert other.sha256 != score.sha256


@pytest.mark.slow
def test_a_unet_learns(lakes: list[Pair]) -> None:
    config = replace(QUICK, steps=24)
    unet = trained("unet", lakes, config=config, val=lakes[3:4])
    assert evaluate_model(unet, lakes[4:]).mean_iou.value > 0.6


def test_controls_read_their_windows_and_nothing_else(lakes: list[Pair]) -> None:
    left = [(Window(0, 0, 64, 40),)] * 3
    forest = trained("forest", lakes, windows=left)
    assert forest.provenance["pixels"] <= 3 * 64 * 40
    # Scored where it was trained, it is refused, as any model is.
    with pytest.raises(SplitError, match="trained"):
        evaluate_model(forest, lakes[:1], windows=[(Window(0, 0, 64, 40),)])
    evaluate_model(forest, lakes[:1], windows=[(Window(0, 50, 40, 20),)])


def test_invalid_pixels_change_no_control(lakes: list[Pair], tmp_path: Path) -> None:
    import numpy as np
    import rasterio

    with rasterio.open(lakes[0].scene.paths[0]) as file:
        numbers, profile, tags = file.read(), file.profile, file.tags()
        descriptions, scales = file.descriptions, file.scales
    fill = numbers == 0
    assert fill.any()
    for number in (65535, 3):
        path = tmp_path / f"fill{number}.tif"
        with rasterio.open(path, "w", **{**profile, "nodata": number}) as file:
            file.write(np.where(fill, number, np.where(numbers == number, number + 1, numbers)))
            file.descriptions, file.scales = descriptions, scales
            file.update_tags(**tags)
    scores = []
    for number in (65535, 3):
        scene = open_scene(tmp_path / f"fill{number}.tif")
        pair = Pair(scene, lakes[0].labels, "filled")
        forest = trained("forest", [pair, *lakes[1:]])
        scores.append(evaluate_model(forest, lakes[3:]).sha256)
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_model_beside_its_controls(lakes: list[Pair]) -> None:
    whole = (Window(0, 0, 64, 96),)
    roles = Roles(
        train=tuple((at, whole) for at in range(3)),
        val=((3, whole),),
        test=((4, whole), (5, whole)),
    )
    train, windows = roles.of("train", lakes)
    model = finetune_segmenter("flood", FLOOD.classes, train, windows=windows, config=QUICK)
    table = compare_controls(model, lakes, roles, config=QUICK, control=SMALL)
    assert [row.name for row in table.rows] == ["flood", "U-Net", "random forest"]
    assert table.held_out == "test"
    scored = {row.evaluation.scores.pixels for row in table.rows}
    assert len(scored) == 1  # the same pixels
    forest = table.rows[2]
    ours, theirs = table.rows[0].evaluation.mean_iou.value, forest.evaluation.mean_iou.value
    assert forest.against.difference.value == pytest.approx(ours - theirs)
    assert "random forest" in str(table)
    assert table.plain()["rows"][1]["name"] == "U-Net"
    validated = replace(roles, test=())
    told = compare_controls(model, lakes, validated, config=QUICK, control=SMALL, kinds=("forest",))
    assert told.held_out == "validation"
    assert "also chose the weights" in told.note
    with pytest.raises(SplitError, match="nothing is held out"):
        compare_controls(model, lakes, Roles(roles.train), config=QUICK)


def test_what_a_control_cannot_be() -> None:
    with pytest.raises(ConfigError, match="unet_rate is 2"):
        ControlConfig(unet_rate=2)
    with pytest.raises(ConfigError, match="0 trees"):
        ControlConfig(trees=0)


def test_an_unknown_unet_encoder(lakes: list[Pair]) -> None:
    odd = ControlConfig(unet_encoder="resnet7")
    with pytest.raises(ConfigError, match="resnet7.*resnet34"):
        train_control(
            "unet", "flood", FLOOD.classes, lakes[:1],
            contract=labelled_contract("flood", lakes[:1]), image_size=32, control=odd,
        )  # fmt: skip


def test_without_the_extra(lakes: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"scikit-learn.*geofm\[control\]"):
        trained("forest", lakes)


# Curves.


def curve_of(lakes: list[Pair], rows: Path | None = None, **settings):
    config = CurveConfig(**{"counts": (1, 2), "seeds": 2, "methods": ("forest",), **settings})
    return label_curve(
        "flood", FLOOD.classes, lakes[:4], lakes[4:], config=QUICK, control=SMALL, curve=config,
        rows=rows,
    )  # fmt: skip


def test_a_curve_resumes_where_it_was_stopped(
    lakes: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, taught = tmp_path / "curve.csv", []
    train = curves.train_control

    def counted(*words, **options):
        taught.append(words[0])
        if len(taught) == 3:
            raise KeyboardInterrupt
        return train(*words, **options)

    monkeypatch.setattr(curves, "train_control", counted)
    with pytest.raises(KeyboardInterrupt):
        curve_of(lakes, rows)
    assert len(read_rows(rows)) == 2
    # A kill may tear the line that it wrote.
    with rows.open("a") as file:
        file.write("forest,2,61")
    whole = curve_of(lakes, rows)
    assert len(taught) == 5  # the third again, and the fourth
    assert len(read_rows(rows)) == 4
    assert curve_of(lakes, rows).rows == whole.rows
    assert len(taught) == 5
    fresh = curve_of(lakes)
    assert [row.mean_iou for row in fresh.rows] == [row.mean_iou for row in whole.rows]
    # Other settings are other trainings.
    more = curve_of(lakes, rows, counts=(1, 2, 4))
    assert {row.labels for row in more.rows} == {1, 2, 4}
    assert more.unit == "labelled scenes"
    assert "random forest" in str(more)


@pytest.mark.slow
def test_all_methods_learn_from_the_same_scenes(lakes: list[Pair]) -> None:
    found = curve_of(lakes, methods=("scratch", "unet", "forest"), counts=(2,), seeds=1)
    assert [row.method for row in found.rows] == ["scratch", "unet", "forest"]
    assert len({(row.labels, row.pixels, row.seed) for row in found.rows}) == 1
    assert all(row.mean_iou is not None for row in found.rows)


def test_more_labels_are_the_same_and_more(lakes: list[Pair]) -> None:
    import numpy as np

    content = np.array([[5, 0], [5, 0], [0, 3], [2, 2], [1, 0]])
    for seed in range(6):
        order = drawn_order(content, seed=seed)
        assert sorted(order) == list(range(5))
        assert order[0] == 3  # alone in showing both classes
        assert order == drawn_order(content, seed=seed)
    assert len({tuple(drawn_order(content, seed=seed)) for seed in range(6)}) > 1


def test_intervals_of_points_are_over_seeds() -> None:
    rows = [
        CurveRow("forest", 1, 10, seed, score, None, None, 1.0, "", str(seed))
        for seed, score in enumerate((0.5, 0.6, 0.7, None))
    ]
    (point,) = points_of(rows)
    assert point.mean_iou == pytest.approx(0.6)
    assert point.seeds == 3
    # Student's t of 2 degrees of freedom, 4.303 * 0.1 / sqrt(3).
    assert point.interval == pytest.approx((0.6 - 0.2484, 0.6 + 0.2484), abs=1e-3)


def test_what_a_curve_cannot_be(lakes: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are 4"):
        curve_of(lakes, counts=(9,))
    with pytest.raises(ConfigError, match="--encoder"):
        curve_of(lakes, methods=("pretrained",))
    with pytest.raises(ConfigError, match="no method magic"):
        CurveConfig(methods=("magic",))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="no label curve"):
        curve_of(lakes, tmp_path / "other.csv")
    with pytest.raises(LabelError, match="no scene has a labelled pixel"):
        label_curve(
            "flood", FLOOD.classes, lakes[:4], lakes[4:],
            windows=[(Window(60, 90, 4, 6),)] * 4, config=QUICK,
            curve=CurveConfig(methods=("forest",)),
        )  # fmt: skip


# The commands.


@pytest.mark.slow
def test_the_commands(lakes: list[Pair], tmp_path: Path, capsys) -> None:
    import json
    import shutil

    from geofm.cli.app import main

    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for pair in lakes:
        path = Path(pair.scene.paths[0])
        shutil.copy(path, images / path.name)
        shutil.copy(path.with_name(path.name.replace("s", "l", 1)), labels / path.name)
    data = ["--task", "flood", "--images", str(images), "--labels", str(labels)]
    small = ["--steps", "2", "--batch-size", "2", "--unet-encoder", "resnet18", "--json"]
    assert main(["finetune", *data, *small, "-o", str(tmp_path / "m.geofm"), "--control"]) == 0
    told = json.loads(capsys.readouterr().out)["controls"]
    assert [row["name"] for row in told["rows"]] == ["m", "U-Net", "random forest"]
    assert told["held_out"] == "validation"
    rows = tmp_path / "curve.csv"
    words = ["label-curve", *data, *small, "-o", str(rows), "--methods", "forest"]
    words += ["--counts", "1,2", "--seeds", "2"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert len(read_rows(rows)) == len(first["rows"]) == 4
    assert rows.with_suffix(".png").stat().st_size > 1000
    assert main(words) == 0  # nothing is trained again
    assert json.loads(capsys.readouterr().out) == first
    assert main([*words, "--methods", "magic"]) == 1
    assert "no method magic" in capsys.readouterr().err
    assert main([*words[:-6], "-o", str(tmp_path / "curve.txt")]) == 1
    assert ".csv" in capsys.readouterr().err
