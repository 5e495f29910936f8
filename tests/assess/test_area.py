"""Areas corrected by a reference: Olofsson's example, the laws of the estimators, coverage."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geofm.assess.area import AreaEstimate, design_area, estimate_area
from geofm.assess.area_design import DesignConfig, sample_size
from geofm.assess.classmap import Ground, Stratum, measure_ground, open_class_map
from geofm.cli.app import main
from geofm.errors import GeofmError, LabelError, SceneError, SplitError
from geofm.export.geotiff import RawLayer, write_cog
from geofm.tasks import MapClass

# Equal area: a pixel of 30 m is 900 square metres everywhere.
EQUAL_AREA = "EPSG:6933"
GRID = Affine(30, 0, 1_000_000, 0, -30, 3_000_000)

# Olofsson et al. 2014, table 8: rows are the map, columns the reference.
NAMES = ("deforestation", "gain", "stable forest", "stable non-forest")
MATRIX = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED = np.array([200_000, 150_000, 3_200_000, 6_450_000])

WriteMap = Callable[..., Path]


@pytest.fixture
def write_map(tmp_path: Path) -> WriteMap:
    """Write codes (H, W) as a map that geofm would have written; returns its path."""

    def write(
        codes: np.ndarray,
        names: tuple[str, ...] = ("land", "water"),
        *,
        name: str = "map.tif",
        crs: str = EQUAL_AREA,
        transform: Affine = GRID,
    ) -> Path:
        from odc.geo.geobox import GeoBox

        raw = tmp_path / f"{name}.raw"
        raw.write_bytes(np.ascontiguousarray(codes, np.uint8).tobytes())
        classes = tuple(MapClass(n, f"#0000{k:02x}") for k, n in enumerate(names))
        layer = RawLayer("classes", ("test",), "MODE", classes=classes)
        write_cog(raw, layer, GeoBox(codes.shape, transform, crs), tmp_path / name)
        return tmp_path / name

    return write


def halves(height: int = 40, width: int = 60) -> np.ndarray:
    """Land on the left, water on the right, a masked row and an unmeasured one."""
    codes = np.zeros((height, width), np.uint8)
    codes[:, width // 2 :] = 1
    codes[0], codes[1] = 254, 255
    return codes


def label(points: Path, truth: np.ndarray, names: tuple[str, ...] = ("land", "water")) -> None:
    """Write the true class at each point into its column."""
    drawn = json.loads(points.with_suffix(".design.json").read_text())["points"]
    codes = dict(zip(drawn["id"], truth[drawn["row"], drawn["col"]].tolist(), strict=True))
    if points.suffix == ".csv":
        table = pd.read_csv(points)
        table["reference"] = [names[codes[i]] for i in table["id"]]
        table.to_csv(points, index=False)
        return
    parquet = points.suffix == ".parquet"
    frame = geopandas.read_parquet(points) if parquet else geopandas.read_file(points)
    frame["reference"] = [names[codes[i]] for i in frame["id"]]
    if parquet:
        frame.to_parquet(points)
    else:
        frame.to_file(points, driver="GPKG")


def own_reference(path: Path, rows: np.ndarray, cols: np.ndarray, labels: list, **columns) -> Path:
    """A reference of one's own: points with a chance of their own."""
    x, y = GRID * (cols + 0.5, rows + 0.5)
    columns = {"reference": labels, "inclusion_probability": 0.1, **columns}
    points = geopandas.points_from_xy(x, y)
    geopandas.GeoDataFrame(columns, geometry=points, crs=EQUAL_AREA).to_file(path)
    return path


# The worked example.


def olofsson_strata() -> Ground:
    strata = tuple(
        Stratum(code, name, float(n) * 900, int(n), 900.0)
        for code, (name, n) in enumerate(zip(NAMES, MAPPED, strict=True))
    )
    return Ground(strata, 0.0, 0.0, "")


@pytest.mark.slow
def test_the_worked_example(write_map: WriteMap, tmp_path: Path) -> None:
    codes = np.repeat(np.arange(4), MAPPED).astype(np.uint8).reshape(2500, 4000)
    rows, cols, labels, chances = [], [], [], []
    for code, counts in enumerate(MATRIX):
        places = np.flatnonzero(codes == code)[: counts.sum()]
        rows += (places // 4000).tolist()
        cols += (places % 4000).tolist()
        labels += [NAMES[k] for k, n in enumerate(counts) for _ in range(n)]
        chances += [counts.sum() / MAPPED[code]] * int(counts.sum())
    reference = own_reference(
        tmp_path / "own.gpkg", np.array(rows), np.array(cols), labels,
        inclusion_probability=chances,
    )  # fmt: skip
    found = estimate_area(write_map(codes, NAMES), reference)
    gone = found["deforestation"]
    assert gone.mapped == pytest.approx(18_000, rel=1e-6)
    assert round(gone.area.value) == 21_158
    assert round(gone.area.margin) == 6_158
    np.testing.assert_array_equal(found.confusion, MATRIX)
    # User's accuracies and half intervals, two places, as in the paper.
    users = [(round(k.users.value, 2), round(k.users.margin, 2)) for k in found.classes]
    assert users == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert (round(gone.producers.value, 2), round(gone.producers.margin, 2)) == (0.75, 0.21)
    assert (round(found.overall.value, 2), round(found.overall.margin, 2)) == (0.95, 0.02)
    assert any("deforestation" in note for note in found.notes)  # 3 points outside its stratum


def test_the_example_needs_641_points() -> None:
    accuracy = dict(zip(NAMES, (0.70, 0.60, 0.90, 0.95), strict=True))
    config = DesignConfig(standard_error=0.01, accuracy=accuracy)
    size = sample_size(olofsson_strata(), dict(enumerate(NAMES)), config)
    assert size.needed == 641
    assert size.overall_error <= 0.01
    assert size.counts.min() == 50


# The estimators.


def reference_formulas(counts: np.ndarray, metres: np.ndarray) -> dict[str, np.ndarray]:
    """Olofsson et al. 2014, eq. 4 to 11, written out."""
    n, weights = counts.sum(axis=1), metres / metres.sum()
    share = counts / n[:, None]
    p = weights[:, None] * share
    area = p.sum(axis=0)
    area_error = np.sqrt(
        (weights[:, None] ** 2 * share * (1 - share) / (n - 1)[:, None]).sum(axis=0)
    )
    users = np.diag(share)
    users_error = np.sqrt(users * (1 - users) / (n - 1))
    producers = np.diag(p) / area
    inner = metres**2 * (1 - producers) ** 2 * users * (1 - users) / (n - 1)
    outer = metres[:, None] ** 2 * share * (1 - share) / (n - 1)[:, None]
    np.fill_diagonal(outer, 0)
    total = area * metres.sum()
    producers_error = np.sqrt(inner + producers**2 * outer.sum(axis=0)) / total
    overall_error = np.sqrt((weights**2 * users * (1 - users) / (n - 1)).sum())
    return {
        "area": area * metres.sum() / 1e4,
        "area_error": area_error * metres.sum() / 1e4,
        "users": users,
        "users_error": users_error,
        "producers": producers,
        "producers_error": producers_error,
        "overall": np.array([np.diag(p).sum()]),
        "overall_error": np.array([overall_error]),
    }


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_estimates_are_those_of_the_written_formulas(kinds: int, seed: int) -> None:
    from geofm.assess.area import _estimate, _Sample

    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 9, (kinds, kinds))
    metres = draw.uniform(1e4, 1e7, kinds)
    mapped, truth = (
        np.repeat(np.indices(counts.shape)[axis].ravel(), counts.ravel()) for axis in (0, 1)
    )
    names = tuple("abcd"[:kinds])
    sample = _Sample(
        names, mapped, truth, mapped, metres,
        weights=(metres / counts.sum(axis=1))[mapped], left=np.ones(len(truth)), skipped=0,
    )  # fmt: skip
    strata = tuple(Stratum(k, n, metres[k], 10**6, 1.0) for k, n in enumerate(names))
    found = _estimate(sample, Ground(strata, 0, 0, ""), [])
    wanted = reference_formulas(counts, metres)
    pick = {
        "area": [kind.area.value for kind in found.classes],
        "area_error": [kind.area.standard_error for kind in found.classes],
        "users": [kind.users.value for kind in found.classes],
        "users_error": [kind.users.standard_error for kind in found.classes],
        "producers": [kind.producers.value for kind in found.classes],
        "producers_error": [kind.producers.standard_error for kind in found.classes],
        "overall": [found.overall.value],
        "overall_error": [found.overall.standard_error],
    }
    for name, numbers in pick.items():
        np.testing.assert_allclose(numbers, wanted[name], rtol=1e-9, atol=1e-12)
    assert sum(kind.area.value for kind in found.classes) == pytest.approx(found.hectares)


# The whole way: a map, points, labels, areas.


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".csv"])
def test_from_a_map_to_areas(write_map: WriteMap, tmp_path: Path, suffix: str) -> None:
    codes = halves()
    truth = codes.copy()
    truth[:, 20:30] = 1  # a third of the land is water
    points = tmp_path / f"points{suffix}"
    source = write_map(codes)
    design = design_area(source, points, config=DesignConfig(points=400))
    label(points, truth)
    found = estimate_area(source, points)
    assert found.points == design.points
    assert found.masked == pytest.approx(60 * 0.09, rel=1e-6)
    assert found.unmeasured == pytest.approx(60 * 0.09, rel=1e-6)
    assert found["water"].mapped == pytest.approx(30 * 38 * 0.09, rel=1e-6)
    low, high = found["water"].area.interval
    assert low <= 40 * 38 * 0.09 <= high
    assert found["water"].users.value == 1
    assert "water" in str(found)
    assert found.notes[0].startswith("where the model was trained") is False


def test_a_stratum_taken_whole_has_no_error(write_map: WriteMap, tmp_path: Path) -> None:
    codes = halves(6, 10)
    source, points = write_map(codes), tmp_path / "all.gpkg"
    design_area(source, points)  # 50 a class, and there are 20 pixels
    label(points, np.where(codes == 0, 1, codes))
    found = estimate_area(source, points)
    assert found["water"].area.value == pytest.approx(40 * 0.09, rel=1e-6)
    assert found["water"].area.standard_error == 0
    assert found["land"].producers is None


def test_labellers_do_not_see_the_map(write_map: WriteMap, tmp_path: Path) -> None:
    points = tmp_path / "points.gpkg"
    design_area(write_map(halves()), points)
    frame = geopandas.read_file(points)
    assert set(frame.columns) == {"id", "lon", "lat", "x", "y", "reference", "geometry"}
    assert frame["reference"].isna().all()
    drawn = json.loads(points.with_suffix(".design.json").read_text())["points"]["stratum"]
    # Nor does the order tell: the strata alternate as chance would have it.
    changes = np.count_nonzero(np.diff(drawn))
    assert len(drawn) / 4 < changes < 3 * len(drawn) / 4


def test_unsure_ground_is_a_stratum_whose_truth_counts(write_map: WriteMap, tmp_path: Path) -> None:
    codes = np.zeros((40, 60), np.uint8)
    codes[:, 30:] = 1
    codes[:, 25:35] = 253
    truth = np.zeros_like(codes)
    truth[:, 30:] = 1
    source, points = write_map(codes), tmp_path / "points.gpkg"
    design_area(source, points, config=DesignConfig(points=300))
    label(points, truth)
    found = estimate_area(source, points)
    assert found.rows == ("land", "water", "unsure")
    assert found.overall.value == 1  # of the ground with a class
    low, high = found["water"].area.interval
    assert low <= 30 * 40 * 0.09 <= high
    assert found["water"].producers.value < 1  # unsure ground is missed ground


def test_a_later_map_of_the_ground_is_estimated_from_the_same_points(
    write_map: WriteMap, tmp_path: Path
) -> None:
    first, truth = halves(), halves()
    first[2:, 25:30] = 1
    points = tmp_path / "points.gpkg"
    design_area(write_map(first), points, config=DesignConfig(points=300))
    label(points, truth)
    later = estimate_area(write_map(truth, name="later.tif"), points)
    assert later.overall.value == pytest.approx(1)
    assert later.overall.standard_error == pytest.approx(0)
    # The area is what the sample says, however good the map: as for the first one.
    before = estimate_area(tmp_path / "map.tif", points)
    assert later["water"].area.value == pytest.approx(before["water"].area.value)


# Coverage: a 95 % interval holds the truth 95 times in a hundred.


@pytest.mark.parametrize("shape", ["flood", "four classes"])
def test_intervals_hold_the_truth_as_often_as_they_claim(shape: str) -> None:
    from geofm.assess.area import _Z, _Sample

    if shape == "flood":
        names, mapped = ("land", "water"), np.array([9.2e6, 8e5])
        truth = np.array([[0.985, 0.015], [0.12, 0.88]])
        config = DesignConfig(area_of="water", standard_error=0.1, accuracy={"land": 0.985})
    else:
        names, mapped = NAMES, MAPPED.astype(float)
        truth = MATRIX / MATRIX.sum(axis=1, keepdims=True)
        config = DesignConfig(
            standard_error=0.01, accuracy=dict(zip(NAMES, np.diag(truth), strict=True))
        )
    strata = tuple(
        Stratum(k, name, mapped[k] * 900, int(mapped[k]), 900.0) for k, name in enumerate(names)
    )
    size = sample_size(Ground(strata, 0, 0, ""), dict(enumerate(names)), config)
    rounds, kinds = 1500, len(names)
    draw = np.random.default_rng(11)
    metres = mapped * 900
    weights = metres / metres.sum()
    real = float(weights @ truth[:, 1]) if shape == "flood" else float(weights @ np.diag(truth))
    held = 0
    stratum = np.repeat(np.arange(kinds), size.counts)
    for _ in range(rounds):
        found = np.concatenate(
            [draw.choice(kinds, n, p=truth[h] / truth[h].sum()) for h, n in enumerate(size.counts)]
        )
        sample = _Sample(
            names, stratum, found, stratum, metres,
            weights=(metres / size.counts)[stratum], left=np.ones(len(found)), skipped=0,
        )  # fmt: skip
        part = found == (1 if shape == "flood" else stratum)
        value, error = sample.ratio(part.astype(float), np.ones(len(found)))
        held += abs(value - real) <= _Z * error
    # Three binomial standard errors, and a point for the normal approximation.
    slack = 3 * np.sqrt(0.95 * 0.05 / rounds) + 0.01
    assert abs(held / rounds - 0.95) < slack


@pytest.mark.slow
def test_intervals_of_drawn_points_hold_the_truth(write_map: WriteMap, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    codes = (draw.random((120, 160)) < 0.3).astype(np.uint8)
    truth = np.where(draw.random(codes.shape) < 0.12, 1 - codes, codes).astype(np.uint8)
    # Degrees, far north: the lowest row's pixels are a third larger than the highest's.
    grid = Affine(0.1, 0, 10, 0, -0.1, 78)
    source = write_map(codes, crs="EPSG:4326", transform=grid)
    from geofm.scenes.areas import pixel_areas
    from geofm.scenes.window import Window

    opened = open_class_map(source)
    areas = pixel_areas(opened.geobox, Window(0, 0, 120, 160))
    real = areas[truth == 1].sum() / 1e4
    held, values = 0, []
    rounds = 60
    for seed in range(rounds):
        points = tmp_path / f"p{seed}.csv"
        design_area(source, points, config=DesignConfig(points=300, seed=seed))
        label(points, truth)
        area = estimate_area(source, points)["water"].area
        values.append(area.value)
        held += area.interval[0] <= real <= area.interval[1]
    assert abs(held / rounds - 0.95) < 3 * np.sqrt(0.95 * 0.05 / rounds)
    # No bias: the mean of the estimates is within its own error.
    assert abs(np.mean(values) - real) < 3 * np.std(values) / np.sqrt(rounds)


# What is refused, in one sentence each.


def refused(call: Callable[[], object], kind: type[GeofmError], *words: str) -> None:
    with pytest.raises(kind) as told:
        call()
    assert "\n" not in str(told.value)
    for word in words:
        assert word in str(told.value)


@pytest.fixture
def labelled(write_map: WriteMap, tmp_path: Path) -> tuple[Path, Path]:
    """A map, and 100 points on it, labelled."""
    points = tmp_path / "points.gpkg"
    source = write_map(halves())
    design_area(source, points, config=DesignConfig(points=100))
    label(points, halves())
    return source, points


def edit(points: Path, change: Callable[[geopandas.GeoDataFrame], object]) -> None:
    frame = geopandas.read_file(points)
    changed = change(frame)
    (frame if changed is None else changed).to_file(points, driver="GPKG")


def test_without_inclusion_probabilities(labelled: tuple[Path, Path]) -> None:
    source, points = labelled
    points.with_suffix(".design.json").unlink()
    refused(
        lambda: estimate_area(source, points), LabelError,
        "inclusion_probability", "points.design.json", "geofm area design",
    )  # fmt: skip


@pytest.mark.parametrize("chance", [0.0, 1.2, float("nan")])
def test_a_chance_that_is_none(write_map: WriteMap, tmp_path: Path, chance: float) -> None:
    places = np.array([5, 6]), np.array([4, 5])
    reference = own_reference(
        tmp_path / "own.gpkg", *places, ["land", "land"], inclusion_probability=[0.1, chance]
    )
    refused(lambda: estimate_area(write_map(halves()), reference), LabelError, "point 2")


def test_unlabelled_points(labelled: tuple[Path, Path]) -> None:
    source, points = labelled
    edit(points, lambda frame: frame.loc.__setitem__((slice(0, 2), "reference"), None))
    refused(lambda: estimate_area(source, points), LabelError, "3 of 100", "--skip-unlabelled")
    found = estimate_area(source, points, skip_unlabelled=True)
    assert found.points == 97
    assert "3 points without a label" in found.notes[-1]
    edit(points, lambda frame: frame.__setitem__("reference", ""))
    refused(lambda: estimate_area(source, points), LabelError, "no point", "land, water")


def test_unknown_class(labelled: tuple[Path, Path]) -> None:
    source, points = labelled
    edit(points, lambda frame: frame.loc.__setitem__((0, "reference"), "swamp"))
    refused(lambda: estimate_area(source, points), LabelError, "swamp", "land, water")


def test_names_in_any_case_and_codes_are_classes(labelled: tuple[Path, Path]) -> None:
    source, points = labelled
    words = {"land": "0", "water": " Water"}
    edit(points, lambda f: f.__setitem__("reference", [words[w] for w in f["reference"]]))
    assert estimate_area(source, points).overall.value == 1


def test_a_point_moved_added_or_doubled(labelled: tuple[Path, Path]) -> None:
    source, points = labelled
    edit(points, lambda f: f.__setitem__("geometry", f.geometry.translate(0, 0)))
    estimate_area(source, points)  # where they were
    edit(points, lambda f: pd.concat([f, f.iloc[:1]]))
    refused(lambda: estimate_area(source, points), LabelError, "point 1 ", "twice")
    edit(points, lambda f: f.iloc[:-1])
    edit(points, lambda f: f.loc.__setitem__((0, "geometry"), f.geometry[0].buffer(90).centroid))
    edit(points, lambda f: f.__setitem__("geometry", f.geometry.translate(60, 0)))
    refused(lambda: estimate_area(source, points), LabelError, "no longer lie where")


def test_points_off_the_map_or_on_masked_ground(write_map: WriteMap, tmp_path: Path) -> None:
    source = write_map(halves())
    for row, col in ((0, 5), (1, 5), (-4, 2), (5, 999)):
        rows, cols = np.array([5, 6, row]), np.array([4, 5, col])
        reference = own_reference(tmp_path / "own.gpkg", rows, cols, ["land"] * 3)
        refused(lambda r=reference: estimate_area(source, r), LabelError, "1 of 3", "(3)", "off")


def test_too_few_points_in_a_class(write_map: WriteMap, tmp_path: Path) -> None:
    rows, cols = np.array([5, 6, 7]), np.array([4, 5, 50])
    reference = own_reference(tmp_path / "own.gpkg", rows, cols, ["land", "land", "water"])
    refused(
        lambda: estimate_area(write_map(halves()), reference), LabelError, "water", "1 labelled"
    )


def test_other_files_are_no_maps_and_no_points(write_map: WriteMap, tmp_path: Path) -> None:
    scene = tmp_path / "scene.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", height=4, width=4, count=3, dtype="uint16",
        crs=EQUAL_AREA, transform=GRID,
    ) as file:  # fmt: skip
        file.write(np.ones((3, 4, 4), np.uint16))
    refused(lambda: estimate_area(scene, scene), SceneError, "3 bands of uint16", "geofm map")
    source = write_map(halves())
    refused(lambda: estimate_area(source, tmp_path / "no.gpkg"), LabelError, "does not exist")
    frame = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy([0], [0]).buffer(9))
    frame.set_crs(EQUAL_AREA).to_file(tmp_path / "areas.gpkg")
    refused(lambda: estimate_area(source, tmp_path / "areas.gpkg"), LabelError, "than points")
    (tmp_path / "bad.csv").write_text("id,reference\n1,land\n")
    refused(lambda: estimate_area(source, tmp_path / "bad.csv"), LabelError, "lon and lat")
    nothing = write_map(np.full((9, 9), 255), name="nothing.tif")
    refused(lambda: design_area(nothing, tmp_path / "p.gpkg"), LabelError, "no class anywhere")


def test_a_map_of_other_ground(labelled: tuple[Path, Path], write_map: WriteMap) -> None:
    _, points = labelled
    smaller = halves()
    smaller[2:20, :2] = 255
    other = write_map(smaller, name="other.tif")
    with pytest.raises(LabelError):
        estimate_area(other, points)


# Training: points that may have taught the model.


def footprint_of(source: Path) -> dict:
    from shapely.geometry import mapping

    from geofm.scenes.ground import footprint

    return {"training_footprint": mapping(footprint(open_class_map(source).geobox))}


def test_labels_from_the_training_ground(write_map: WriteMap, tmp_path: Path) -> None:
    source = write_map(halves())
    rows, cols = np.array([5, 6, 7, 8]), np.array([4, 5, 50, 51])
    labels = ["land", "land", "water", "water"]
    reference = own_reference(tmp_path / "own.gpkg", rows, cols, labels)
    found = estimate_area(source, reference)
    assert "nobody checked" in found.notes[0]
    refused(
        lambda: estimate_area(source, reference, provenance=footprint_of(source)),
        SplitError, "4 of 4", "trained", "geofm area design",
    )  # fmt: skip


def test_points_drawn_from_this_map_came_after_training(
    labelled: tuple[Path, Path], write_map: WriteMap
) -> None:
    source, points = labelled
    found = estimate_area(source, points, provenance=footprint_of(source))
    assert "100 of 100 points lie where the model was trained" in found.notes[0]
    # From another map, they may have taught this one since.
    later = halves()
    later[5, 5] = 1
    path = write_map(later, name="later.tif")
    refused(
        lambda: estimate_area(path, points, provenance=footprint_of(path)), SplitError, "trained"
    )


def test_a_receipt_beside_the_map_tells_where_it_was_trained(
    write_map: WriteMap, tmp_path: Path
) -> None:
    source = write_map(halves())
    with rasterio.open(source, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.update_tags(GEOFM_RECIPE="abc")
    model = {"name": "m", **footprint_of(source)}
    receipt = {"model": model, "recipe_sha256": "abc"}
    item = {"properties": {"geofm:receipt": receipt}}
    source.with_suffix(".json").write_text(json.dumps(item))
    assert open_class_map(source).training is not None
    receipt["recipe_sha256"] = "of another map"
    source.with_suffix(".json").write_text(json.dumps(item))
    assert open_class_map(source).training is None


# The command.


def test_the_command(labelled: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    source, points = labelled
    assert main(["area", "design", str(source), "-o", str(tmp_path / "p.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["points"] == sum(stratum["points"] for stratum in told["strata"])
    assert main(["area", "estimate", str(source), str(points)]) == 0
    page = capsys.readouterr().out
    assert "overall accuracy 1.000" in page
    assert main(["area", "estimate", str(source), str(points), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["overall_accuracy"]["value"] == 1
    assert main(["area", "design", str(source), "-o", str(points)]) == 1
    assert "labels in it would be lost" in capsys.readouterr().err
    for wrong in (["design", str(source)], ["estimate", str(source)], ["estimate"], ["judge"]):
        assert main(["area", *wrong]) == 2
        assert "geofm area" in capsys.readouterr().err


def test_a_map_in_memory(tmp_path: Path) -> None:
    import odc.geo.xr  # noqa: F401
    import xarray as xr
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    geobox = GeoBox((40, 60), GRID, EQUAL_AREA)
    flags = {"flag_values": [0, 1, 253], "flag_meanings": "dry_land water unsure"}
    data = xr.DataArray(halves(), xr_coords(geobox), geobox.dimensions, attrs=flags)
    dataset = data.to_dataset(name="classes")
    points = tmp_path / "points.gpkg"
    design_area(dataset, points)
    label(points, halves(), ("dry land", "water"))
    found: AreaEstimate = estimate_area(dataset, points)
    assert found["dry land"].users.value == 1
    refused(lambda: estimate_area(7, points), SceneError, "int is no map")


def test_measured_ground_is_the_sum_of_its_pixels(write_map: WriteMap) -> None:
    ground = measure_ground(open_class_map(write_map(halves())))
    assert [stratum.pixels for stratum in ground.strata] == [30 * 38, 30 * 38]
    assert ground.square_metres == pytest.approx(60 * 38 * 900, rel=1e-6)
