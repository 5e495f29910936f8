"""A file of settings becomes a checked config, or one sentence with its line; flags override it."""

from dataclasses import dataclass, fields, is_dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.cli.parser import parse
from geofm.config import config_of, read_config, read_settings
from geofm.errors import ConfigError
from geofm.train.config import EncoderShape, FinetuneConfig, PretrainConfig


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write_text


def toml(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(toml, value))}]"
    return repr(value)


def as_toml(config, table=""):
    """Every field of a config, inner ones as tables."""
    plain = {f.name: getattr(config, f.name) for f in fields(config)}
    inner = {name: value for name, value in plain.items() if is_dataclass(value)}
    lines = [
        f"{name} = {toml(v)}" for name, v in plain.items() if name not in inner and v is not None
    ]
    tables = [f"[{name}]\n{as_toml(value)}" for name, value in inner.items()]
    return "\n".join([*lines, *tables])


@pytest.mark.parametrize("kind", [PretrainConfig, FinetuneConfig])
def test_every_setting_can_stand_in_a_file(kind, write):
    config = kind(steps=7, learning_rate=0.5, ema=0.25, devices="auto", compile="no")
    assert read_config(write(as_toml(config)), kind) == config
    assert read_config(write(""), kind) == kind()


@given(st.integers(1, 10**6), st.floats(1e-9, 1), st.booleans())
def test_numbers_are_read_as_they_are(tmp_path_factory, steps, rate, again):
    path = tmp_path_factory.mktemp("config") / "run.toml"
    config = PretrainConfig(steps=steps, learning_rate=rate, recompute=again)
    path.write_text(as_toml(config))
    assert read_config(path, PretrainConfig) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1\nstep = 5", r"run.toml, line 2: no setting step; did you mean steps\?"),
        ("zzz = 5", r"line 1: no setting zzz; there are accumulate, "),
        ("\n[encoder]\ndeep = 5", r"line 3: no setting encoder.deep; did you mean depth\?"),
        ("encoder.deep = 5", r"line 1: no setting encoder.deep; did you mean depth\?"),
        ("steps = 2.5", r"line 1: steps is 2.5; input should be a valid integer"),
        ("steps = '5'", r"line 1: steps is \"5\"; input should be a valid integer"),
        ("steps = true", r"line 1: steps is true; input should be a valid integer"),
        ("seed = 1\nsteps = 0", r"line 2: steps is 0; needed 1 or more"),
        ("mask_ratio = nan", r"line 1: mask_ratio is (NaN|nan); "),
        ("[encoder]\npatch_size = 0", r"line 2: patch_size is 0; needed 1 or more"),
        ("encoder = 5", r"line 1: encoder is 5; "),
        ("precision = 'fp64'", r"line 1: precision is \"fp64\"; input should be 'auto', 'fp32'"),
        ("steps 5", r"run.toml is no TOML .*; write lines such as steps = 2000"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write, text, said):
    with pytest.raises(ConfigError, match=said):
        read_config(write(text), PretrainConfig)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml cannot be read .*; give a TOML file"):
        read_config(tmp_path / "none.toml", PretrainConfig)


def test_what_is_said_later_goes_before_the_file(write):
    settings = read_settings(write("steps = 5\nseed = 3\n[encoder]\ndepth = 2\nnum_heads = 4"))
    config = config_of(PretrainConfig, settings, {"steps": 9, "encoder": {"depth": 7}})
    assert (config.steps, config.seed) == (9, 3)
    assert config.encoder == EncoderShape(depth=7, num_heads=4)


def test_flags_override_the_file_which_may_hold_every_flag(write):
    path = write(
        """
        scenes = ["a.tif", "b.tif"]
        output = "file.geofm"
        steps = 5
        clip = 0.5
        bands = ["red", "nir"]
        target = "patches"
        any_resolution = false
        [encoder]
        tubelet = 3
        """
    )
    flags = parse(["pretrain", "--config", str(path), "--steps", "9"])
    assert (flags.scenes, flags.output, flags.bands) == (
        ["a.tif", "b.tif"],
        "file.geofm",
        ("red", "nir"),
    )
    said = {"steps": flags.steps}
    config = config_of(PretrainConfig, flags.settings, said)
    assert (config.steps, config.clip, config.encoder.tubelet) == (9, 0.5, 3)
    assert config.target == "patches"
    assert parse(["pretrain", f"--config={path}", "-o", "mine.geofm"]).output == "mine.geofm"


def test_a_file_of_fine_tuning(write):
    path = write(
        'task = "flood"\nimages = "chips"\nlabels = "water.gpkg"\noutput = "flood.geofm"\n'
        'codes = {lake = "water"}\nencoder = "enc.geofm"\nweight_decay = 0.01\n'
        "[scratch]\ndepth = 3\n"
    )
    flags = parse(["finetune", "--config", str(path), "--task", "burn_scar"])
    assert (flags.task, flags.images, flags.encoder) == ("burn_scar", "chips", "enc.geofm")
    assert flags.codes == {"lake": "water"}
    config = config_of(FinetuneConfig, flags.settings)
    assert (config.weight_decay, config.scratch.depth) == (0.01, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 5", r"line 1: no setting stepz; did you mean steps\?"),
        ("seed = 0\nimagez = 'x'", r"line 2: no setting imagez; did you mean images\?"),
        ("overwrite = true", r"no setting overwrite; "),
    ],
)
def test_a_key_that_no_command_knows_is_refused(write, text, said):
    with pytest.raises(ConfigError, match=said):
        parse(["finetune", "--config", str(write(text)), "--task", "flood", "-o", "x.geofm"])


@pytest.mark.parametrize("value", ["depht = 2", 'depth = "6"', "depth = 0"])
def test_a_table_of_settings_is_never_taken_for_the_flag_of_its_name(write, value):
    """``[encoder]`` holds the size of a new one, ``--encoder`` names one to go on from."""
    path = write(f'scenes = ["a.tif"]\noutput = "e.geofm"\n[encoder]\n{value}')
    flags = parse(["pretrain", "--config", str(path)])
    assert flags.encoder is None
    with pytest.raises(ConfigError, match="line 4: .*dep"):
        config_of(PretrainConfig, flags.settings)


def test_a_config_of_ones_own():
    @dataclass(frozen=True)
    class Pair:
        a: int
        b: float = 0.5

    from geofm.config import Settings

    assert config_of(Pair, Settings({"a": 1, "b": 2})) == Pair(1, 2.0)
