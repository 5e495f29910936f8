"""How many points, where: sizes, shares between strata, and the draw itself."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod

from geofm.assess import classmap
from geofm.assess.area_design import DesignConfig, Drawn, draw, sample_size
from geofm.assess.classmap import ClassMap, Ground, Stratum, measure_ground
from geofm.errors import ConfigError

ELLIPSOID = 510_065_621.7241e6  # WGS 84, square metres
DEGREES = Affine(2, 0, -180, 0, -2, 90)


def a_map(codes: np.ndarray, transform: Affine = DEGREES, crs: str = "EPSG:4326") -> ClassMap:
    geobox = GeoBox(codes.shape, transform, crs)
    codes = codes.astype(np.uint8)
    return ClassMap("map", geobox, {0: "land", 1: "water"}, lambda w: codes[w.slices].copy())


def world() -> np.ndarray:
    """Water below the latitude of 60 degrees north, land above."""
    codes = np.zeros((90, 180), np.uint8)
    codes[15:] = 1
    return codes


def strata_of(*square_metres: float) -> Ground:
    strata = tuple(
        Stratum(k, f"class {k}", area, max(int(area // 100), 1), 100.0)
        for k, area in enumerate(square_metres)
    )
    return Ground(strata, 0.0, 0.0, "")


def names(ground: Ground) -> dict[int, str]:
    return {stratum.code: stratum.name for stratum in ground.strata}


# Ground, also where degrees mislead.


def test_a_world_of_degrees_is_the_ellipsoid() -> None:
    ground = measure_ground(a_map(world()))
    assert ground.square_metres == pytest.approx(ELLIPSOID, rel=5e-4)  # its pixels are flat
    # North of 60 degrees lies a fifteenth of the ellipsoid, and a sixth of the pixels.
    land = ground.strata[0]
    assert land.pixels / 180 / 90 == pytest.approx(1 / 6)
    assert land.square_metres / ELLIPSOID == pytest.approx(0.0672, abs=3e-4)


def test_ground_across_the_antimeridian_and_over_the_pole() -> None:
    codes = np.ones((40, 60), np.uint8)
    east = np.concatenate([np.linspace(10, 13, 61), np.linspace(13, 10, 61)])
    north = np.repeat([64.0, 66.0], 61)
    square_metres, _ = Geod(ellps="WGS84").polygon_area_perimeter(east, north)
    for west in (179.0, 10.0):
        found = measure_ground(a_map(codes, Affine(0.05, 0, west, 0, -0.05, 66))).square_metres
        assert found == pytest.approx(square_metres, rel=3e-5), west
    # The pole in the middle of a grid of 10 km: pixels are what they are on the ground.
    pole = a_map(np.ones((100, 100)), Affine(10_000, 0, -500_000, 0, -10_000, 500_000), "EPSG:3995")
    metres = measure_ground(pole).square_metres
    assert metres == pytest.approx(1e12, rel=0.07)  # the projection stretches by up to 6 %
    assert abs(metres / 1e12 - 1) > 0.01


# The draw.


def test_the_draw_is_without_replacement_inside_its_strata() -> None:
    codes = world()
    opened = a_map(codes)
    ground = measure_ground(opened)
    found = draw(opened, ground.strata, [40, 60], seed=5)
    places = found.rows * 180 + found.cols
    assert len(np.unique(places)) == 100
    np.testing.assert_array_equal(codes[found.rows, found.cols], found.codes)
    assert np.bincount(found.codes).tolist() == [40, 60]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_same_seed_draws_the_same_points_however_the_map_is_read(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = a_map(world())

    def drawn() -> Drawn:
        ground = measure_ground(opened)
        return draw(opened, ground.strata, [50, 50], seed=9)

    whole = drawn()
    monkeypatch.setattr(classmap, "STRIP_PIXELS", rows * 180)
    parts = drawn()
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.cols, parts.cols)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, rtol=1e-4)


def test_points_fall_evenly_on_the_ground_not_on_the_pixels() -> None:
    opened = a_map(np.ones((90, 180)))
    ground = measure_ground(opened)
    found = draw(opened, ground.strata, [2000], seed=1)
    # Archimedes: equal slices of a sphere's axis have equal areas (the ellipsoid's nearly).
    height = np.sin(np.radians(90 - (found.rows + 0.5) * 2))
    counts, _ = np.histogram(height, bins=10, range=(-1, 1))
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < 27.9  # 0.999 of chi square with 9 degrees of freedom
    # What a point stands for is the same for all: its pixel's area over its chance.
    assert (found.probabilities > 0).all()


@pytest.mark.slow
def test_inclusion_probabilities_are_how_often_pixels_are_drawn() -> None:
    """Pixels of 1 to 3 units of area, a third of them drawn: Pareto sampling keeps its word."""
    codes = np.ones((12, 10))
    opened = a_map(codes, Affine(1, 0, 0, 0, -5, 85), "EPSG:4326")  # 85 to 25 degrees north
    ground = measure_ground(opened)
    rounds, drawn = 300, np.zeros((12, 10))
    chance = np.zeros((12, 10))
    for seed in range(rounds):
        found = draw(opened, ground.strata, [20], seed=seed)
        drawn[found.rows, found.cols] += 1
        chance[found.rows, found.cols] = found.probabilities
    by_row = drawn.mean(axis=1) / rounds
    told = chance.max(axis=1)
    assert told.max() / told.min() > 3
    np.testing.assert_allclose(
        by_row, told, atol=4 * np.sqrt(told.max() * (1 - told.max()) / rounds / 10)
    )


# How many.


@given(
    st.lists(st.floats(1e5, 1e12), min_size=2, max_size=6),
    st.floats(0.005, 0.1),
    st.sampled_from(["neyman", "proportional"]),
)
@settings(max_examples=60)
def test_the_target_is_met_and_every_stratum_has_its_minimum(
    areas: list[float], goal: float, allocation: str
) -> None:
    ground = strata_of(*areas)
    config = DesignConfig(standard_error=goal, allocation=allocation, minimum=30)
    size = sample_size(ground, names(ground), config)
    assert size.overall_error <= goal * 1.01  # of whole points
    for count, stratum in zip(size.counts.tolist(), ground.strata, strict=True):
        assert count >= min(30, stratum.pixels)
        assert count <= stratum.pixels


def test_a_rare_class_wants_more_points_than_an_accuracy() -> None:
    ground = strata_of(9.9e9, 1e8)
    accuracy = {"class 0": 0.995}
    overall = sample_size(ground, names(ground), DesignConfig(accuracy=accuracy))
    area = sample_size(ground, names(ground), DesignConfig(accuracy=accuracy, area_of="class 1"))
    assert overall.for_intervals["class 1"] > overall.counts.sum()  # and it is said
    assert area.counts.sum() >= area.for_intervals["class 1"]
    assert area.area_errors["class 1"] <= 0.1 * 1e8 / 1e4 * 1.01


def test_as_many_points_as_asked() -> None:
    ground = strata_of(6e8, 3e8, 1e8)
    size = sample_size(ground, names(ground), DesignConfig(points=600, minimum=2))
    assert size.counts.tolist() == [360, 180, 60]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"standard_error": 0}, "standard_error is 0"),
        ({"standard_error": float("nan")}, "standard_error is nan"),
        ({"accuracy": {"class 0": 1.5}}, "class 0 is 1.5"),
        ({"minimum": 1}, "minimum is 1"),
        ({"points": 1}, "points is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"allocation": "fair"}, "neyman or proportional"),
    ],
)
def test_settings_out_of_range(setting: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DesignConfig(**setting)


def test_targets_that_cannot_be() -> None:
    ground = strata_of(6e8, 3e8)
    for config, words in (
        (DesignConfig(accuracy={"swamp": 0.5}), "no class swamp"),
        (DesignConfig(area_of="unsure"), "no class unsure"),
    ):
        with pytest.raises(ConfigError, match=words):
            sample_size(ground, names(ground), config)
    big = strata_of(6e15, 3e15)
    with pytest.raises(ConfigError, match="ask for a larger one"):
        sample_size(big, names(big), DesignConfig(standard_error=1e-6))
