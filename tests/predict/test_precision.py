"""bfloat16 and compiling: taken by rule, checked, and left with a reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from geofm.errors import ConfigError
from geofm.predict import compiled, engine, infer
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory, map_to_file
from geofm.predict.plan import Layout, WindowPlan
from geofm.predict.precision import BOUND
from geofm.scenes.open import open_scene


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A CPU that says it computes bfloat16; this one may emulate it."""
    monkeypatch.setattr(infer, "bfloat16_flags", lambda: ("avx512_bf16",))


def test_auto_takes_bf16_where_the_cpu_has_it(tiny_model, write_raster, dn_of, bf16_cpu):
    scene = open_scene(write_raster(dn_of(70, 80)))
    auto, exact = (
        map_in_memory(
            tiny_model(), scene, options=MapOptions(precision=precision, probabilities=True)
        )
        for precision in ("auto", "fp32")
    )
    assert (auto.recipe.precision, exact.recipe.precision) == ("bf16", "fp32")
    gap = np.abs(auto.probabilities * 0.004 - exact.probabilities * 0.004)
    assert 0 < gap.max() <= BOUND + 0.004


def test_auto_is_fp32_where_the_cpu_emulates_bf16(tiny_model, write_raster, dn_of, monkeypatch):
    monkeypatch.setattr(infer, "bfloat16_flags", lambda: ())
    scene = open_scene(write_raster(dn_of(40, 40)))
    job = engine.prepare(tiny_model(), scene, MapOptions())
    assert (job.recipe.precision, job.notes) == ("fp32", ())


def test_a_model_that_bf16_breaks_is_mapped_in_fp32_and_says_why(
    tiny_model, write_raster, dn_of, bf16_cpu, tmp_path
):
    model = tiny_model()
    with torch.no_grad():  # steep logits: small errors decide
        for parameter in model.segmenter.head.parameters():
            parameter.mul_(30)
    scene = open_scene(write_raster(dn_of(70, 80)))
    report = map_to_file(model, scene, tmp_path / "map.tif")
    assert report.recipe.precision == "fp32"
    (note,) = receipt_of(report)["notes"]
    assert note.startswith("fp32: bf16 changes probabilities of this scene by ")
    forced = map_in_memory(model, scene, options=MapOptions(precision="bf16"))
    assert forced.recipe.precision == "bf16", "who asks for it gets it"


def receipt_of(report):
    """The receipt in the STAC item, wherever it stands in it."""

    def find(node):
        if isinstance(node, dict):
            return (
                node
                if "recipe_sha256" in node
                else next(filter(None, map(find, node.values())), None)
            )
        return None

    return find(json.loads(report.files["item"].read_text()))


def test_without_data_there_is_nothing_to_compare(tiny_model, write_raster, bf16_cpu):
    scene = open_scene(write_raster(np.zeros((2, 70, 80), np.uint16)), scale=1e-4)
    job = engine.prepare(tiny_model(), scene, MapOptions())
    assert job.recipe.precision == "fp32"
    assert "no data was found" in job.notes[0]


def test_the_rule_of_compiling(tiny_model):
    segmenter = tiny_model().segmenter
    wide, small = WindowPlan(2**18, 2**18, 32, 3), WindowPlan(64, 64, 32, 3)
    weights = sum(p.numel() for p in segmenter.encoder.blocks.parameters())
    assert len(wide.rows) * len(wide.cols) * 16 * weights > compiled.PAYS
    rule = compiled.compiling_pays
    assert rule(segmenter, wide, kind="cpu", bf16=True)
    assert not rule(segmenter, wide, kind="cpu", bf16=False)
    assert not rule(segmenter, wide, kind="cuda", bf16=True)
    assert not rule(segmenter, small, kind="cpu", bf16=True)


def test_a_failing_compiler_is_noted_and_done_without(tiny_model, write_raster, dn_of, monkeypatch):
    monkeypatch.setattr(compiled, "PAYS", 0)

    def broken(*_, **__):
        raise RuntimeError("C++ compile error\nand a hundred lines more")

    monkeypatch.setattr(torch, "compile", broken)
    scene = open_scene(write_raster(dn_of(70, 80)))
    options = MapOptions(precision="bf16")
    job = engine.prepare(tiny_model(), scene, options)
    assert not job.recipe.compiled
    assert job.notes == ("eager: torch.compile failed (RuntimeError: C++ compile error)",)
    assert (map_in_memory(tiny_model(), scene, options=options).classes < 3).all()


@pytest.mark.slow
def test_a_compiled_map_is_within_the_bound_and_the_same_in_any_layout(
    tiny_model, write_raster, dn_of, monkeypatch
):
    from geofm.predict.mapping import ArraySink

    model, scene = tiny_model(), open_scene(write_raster(dn_of(150, 130)))
    options = MapOptions(precision="bf16", probabilities=True)
    eager = map_in_memory(model, scene, options=options)
    monkeypatch.setattr(compiled, "PAYS", 0)
    job = engine.prepare(model, scene, options)
    assert job.notes == ()
    assert job.recipe.compiled
    assert job.recipe.digest != eager.recipe.digest
    sinks = []
    for layout in (Layout(130, 99), Layout(61, 1)):
        sinks.append(ArraySink(scene.shape, 3))
        engine.run(replace(job, layout=layout), sinks[-1])
    np.testing.assert_array_equal(sinks[0].probabilities, sinks[1].probabilities)
    np.testing.assert_array_equal(sinks[0].classes, sinks[1].classes)
    gap = np.abs(sinks[0].probabilities * 0.004 - eager.probabilities * 0.004)
    assert gap.max() <= BOUND + 0.004


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="'cuda:99' is not here; there are"):
        infer.choose_device("auto", "cuda:99")
