"""`import geofm` and every help page stay light: heavy packages load when used (promise 9)."""

import subprocess
import sys

import pytest

HEAVY = {
    "geopandas",
    "huggingface_hub",
    "lightning",
    "matplotlib",
    "numpy",
    "odc",
    "pandas",
    "pydantic",
    "pyogrio",
    "pystac",
    "rasterio",
    "rich",
    "safetensors",
    "shapely",
    "timm",
    "torch",
    "torchvision",
    "xarray",
}


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded once it has run the code."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n', *sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(told.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import geofm; geofm.__version__; dir(geofm); dir(geofm.plot)",
        "from geofm.cli.app import main; main(['--help'])",
        "from geofm.cli.app import main; main(['map', '--help'])",
        "from geofm.cli.app import main; main(['map', '--no-such-flag'])",
    ],
)
def test_no_heavy_package_loads(code: str) -> None:
    loaded = {name.partition(".")[0] for name in modules_after(code)}
    assert "geofm" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.slow
def test_a_map_loads_no_more_than_it_takes(flood_folder, make_scene, tmp_path) -> None:
    # Each of these costs a command its seconds before the first pixel.
    others = {"lightning", "matplotlib", "sympy", "timm", "torch._dynamo", "torchvision", "xarray"}
    words = ["map", str(flood_folder), str(make_scene()), "-o", str(tmp_path / "map.tif")]
    code = f"from geofm.cli.app import main; assert main({words!r}) == 0"
    loaded = modules_after(code)
    assert "torch" in loaded
    assert loaded & others == set()


def test_public_names_are_there() -> None:
    import geofm
    from geofm import api

    assert {name for name in geofm.__all__ if getattr(geofm, name) is None} == set()
    assert set(geofm.__all__) - {"GeofmError", "__version__"} == set(api.__all__)
    assert {name for name in geofm.plot.__all__ if not callable(getattr(geofm.plot, name))} == set()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        geofm.nonsense  # noqa: B018
