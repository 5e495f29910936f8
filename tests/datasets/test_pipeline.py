"""The three sets through the whole pipeline, by the commands that the real downloads take."""

import json
from pathlib import Path

import pytest

from geofm.cli.app import main

SETS = {
    "sen1floods11": {"side": 64, "chips": 4},
    "hls_burn_scars": {"side": 64, "chips": 6},
    "multi_temporal_crops": {"side": 64, "chips": 6},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_check_finetune_evaluate(name, make_set, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = make_set(name, tmp_path / "set", **SETS[name])
    source = ["--dataset", name, "--root", str(root)]
    code = main(["check", *source, "--json", "--html", "check.html"])
    facts = json.loads(capsys.readouterr().out)
    assert code == 0, facts["findings"]
    assert Path("check.html").stat().st_size > 10_000
    Path("small.toml").write_text("[scratch]\nimage_size = 64\nembed_dim = 48\ndepth = 2\n")
    few = ["--steps", "4", "--batch-size", "2", "--config", "small.toml"]
    assert main(["finetune", *source, *few, "-o", "model.geofm"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["evaluate", "model.geofm", *source, "--json"]) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)
