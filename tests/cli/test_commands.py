"""The commands that train, on the command line: folders in, a map out, all of it readable back."""

import json
from pathlib import Path

import pytest

from geofm.cli.app import main
from geofm.cli.progress import progress_bar
from geofm.scenes.synthetic import make_labels


@pytest.mark.slow
def test_from_scenes_to_a_map(make_scene, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        Path(folder).mkdir()
    for seed in (0, 1):
        scene = make_scene(f"images/s{seed}.tif", height=150, width=160, seed=seed)
        make_labels(f"labels/s{seed}.tif", scene, seed=seed)
    few = ["--steps", "2", "--batch-size", "2"]
    images = [f"images/s{seed}.tif" for seed in (0, 1)]
    assert main(["pretrain", *images, "-o", "encoder.geofm", *few]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "encoder encoder.geofm"
    assert told.err.startswith("opening scenes ...\n")
    assert "\npretraining on 2 scenes ...\n" in told.err
    words = ["finetune", "--task", "flood", "--images", "images", "--labels", "labels", *few]
    words += ["--codes", "0=not water,1=water", "--encoder", "encoder.geofm", "-o", "flood.geofm"]
    assert main(words) == 0
    assert "next: geofm map flood.geofm SCENE.tif -o flood.tif" in capsys.readouterr().out
    assert main(["map", "flood.geofm", images[0], "-o", "flood.tif", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["path"]).exists()
    for path in ("encoder.geofm", "flood.geofm", "flood.tif", images[0]):
        assert main(["info", path]) == 0
        assert capsys.readouterr().out
    # An hour of training is not begun for an output that is taken.
    assert main(words) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task", "floods"], "unknown task 'floods'; known: flood"),
        (["--task", "flood", "--codes", "1=watr"], "--codes names watr; the classes are"),
        (["--task", "flood"], "there is no folder"),
    ],
)
def test_finetune_refuses_in_a_sentence(tmp_path: Path, capsys, flags, said) -> None:
    words = ["--images", "absent", "--labels", "absent", "-o", str(tmp_path / "m.geofm")]
    assert main(["finetune", *flags, *words]) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--encoder", "nowhere.geofm"], "nowhere.geofm does not exist, and is no published model"),
        (["--masked-qa", "clod"], "unknown quality class 'clod'; known: fill, cloud"),
        (["--mask-ratio", "7"], "mask_ratio is 7.0; needed 0.01 to 0.99"),
        ([], "absent"),
    ],
)
def test_pretrain_refuses_before_it_opens_ten_thousand_scenes(
    tmp_path: Path, capsys, flags, said
) -> None:
    assert main(["pretrain", "absent", "-o", str(tmp_path / "e.geofm"), *flags]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_of_several_processes_the_first_tells_how_far_it_is(name, capsys, monkeypatch) -> None:
    monkeypatch.setenv(name, "1")
    with progress_bar("pretraining") as progress:
        progress(0.5, "loss 1")
    assert not capsys.readouterr().err
    monkeypatch.setenv(name, "0")
    with progress_bar("pretraining"):
        pass
    assert "pretraining: done in" in capsys.readouterr().err
