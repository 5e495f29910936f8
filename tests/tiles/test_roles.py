"""Roles: what lies near stays together, every class everywhere, leaks found and refused."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod

from geofm.errors import SplitError
from geofm.scenes.catalog import Pair
from geofm.scenes.ground import footprint
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels, make_scene
from geofm.scenes.window import Window
from geofm.tiles.groups import group_pairs
from geofm.tiles.leakage import check_leakage, find_roles
from geofm.tiles.nearness import metres_between, near_pairs, nearest_pair
from geofm.tiles.roles import Roles, given_roles, split_pairs
from geofm.tiles.splits import join_windows

SIDE = 48


def chip(folder, name, x, *, seed=None, side=SIDE, **options):
    """A pair of ``side`` px of 10 m, ``x`` metres east of a corner."""
    seed = len(list(folder.iterdir())) if seed is None else seed
    grid = Affine(10, 0, 500_000 + x, 0, -10, 5_900_000)
    path = make_scene(
        folder / f"{name}.tif", height=side, width=side, seed=seed, transform=grid, block=16,
        **options,
    )  # fmt: skip
    scene = open_scene(path)
    labels = open_labels(make_labels(folder / f"{name}_l.tif", path, seed=seed), scene.geobox)
    return Pair(scene, labels, name)


def crop_of(folder, whole, name, row, col, side):
    """A copy of a part of a pair, without a place on Earth."""
    out = []
    for suffix in ("", "_l"):
        with rasterio.open(folder / f"{whole.name}{suffix}.tif") as file:
            window = rasterio.windows.Window(col, row, side, side)
            profile = file.profile | {"height": side, "width": side, "crs": None}
            profile["transform"] = Affine.identity()
            with rasterio.open(folder / f"{name}{suffix}.tif", "w", **profile) as to:
                to.write(file.read(window=window))
                to.descriptions = file.descriptions
                to.scales, to.offsets = file.scales, file.offsets
                to.update_tags(**file.tags())
        out.append(folder / f"{name}{suffix}.tif")
    scene = open_scene(out[0])
    return Pair(scene, open_labels(out[1], scene.geobox), name)


@pytest.fixture(scope="module")
def row(tmp_path_factory) -> list[Pair]:
    """Eight chips: 0 and 1 overlap, 2 and 3 touch, 4 and 5 lie 500 m apart, the others far."""
    folder = tmp_path_factory.mktemp("row")
    places = [0, 240, 10_000, 10_480, 20_000, 20_980, 40_000, 60_000]
    return [chip(folder, f"chip_{n}", x, seed=n) for n, x in enumerate(places)]


class TestNearness:
    @settings(max_examples=40)
    @given(st.floats(-179.9, 179.9), st.floats(-80, 80), st.floats(-2e4, 2e4), st.floats(-2e4, 2e4))
    def test_metres_between_squares_anywhere(self, lon, lat, east, north):
        """Against the ellipsoid: corners walked along meridians and parallels."""
        geod = Geod(ellps="WGS84")

        def square(lon, lat):
            right = geod.fwd(lon, lat, 90, 1000)[0]
            top = geod.fwd(lon, lat, 0, 1000)[1]
            right += 360 * (right < lon)
            return lon, lat, right, top

        def polygon(w, s, e, n):
            if e <= 180:
                return shapely.box(w, s, e, n)
            return shapely.union(shapely.box(w, s, 180, n), shapely.box(-180, s, e - 360, n))

        other_lon, other_lat, _ = geod.fwd(*geod.fwd(lon, lat, 90, east)[:2], 0, north)
        a, b = square(lon, lat), square(other_lon, other_lat)
        found = metres_between(polygon(*a), polygon(*b))
        down, across = max(abs(north) - 1000, 0), max(abs(east) - 1000, 0)
        if min(abs(abs(north) - 1000), abs(abs(east) - 1000)) < 30:
            return  # a matter of rounding
        if down == across == 0:
            assert found == -1
        else:
            assert found == pytest.approx(np.hypot(down, across), rel=0.02, abs=40)

    def test_all_near_pairs_and_the_nearest_are_found(self):
        rng = np.random.default_rng(0)
        boxes = [
            shapely.box(x, y, x + 0.05, y + 0.05)
            for x, y in rng.uniform((9, 50), (11, 51), (60, 2))
        ]
        ours, theirs = boxes[:25], boxes[25:]
        every = {
            (i, j): metres_between(a, b) for i, a in enumerate(ours) for j, b in enumerate(theirs)
        }
        for within in (0, 3000, 20_000):
            expected = {at for at, metres in every.items() if metres < within or metres <= 0}
            assert {(i, j) for i, j, _ in near_pairs(ours, theirs, within=within)} == expected
        assert nearest_pair(ours, theirs)[2] == min(every.values())
        assert nearest_pair([], theirs)[2] == np.inf
        assert list(near_pairs(ours, [], within=1e9)) == []

    def test_neighbours_on_one_grid_touch_and_do_not_overlap(self):
        whole = GeoBox((100, 200), Affine(30, 0, 300_000, 0, -30, 4_000_000), "EPSG:32615")
        a, b, c = (footprint(whole[:, start : start + 100]) for start in (0, 100, 99))
        assert metres_between(a, b) == 0
        assert metres_between(a, c) == -1


class TestGroups:
    def test_near_ground_belongs_together(self, row):
        assert group_pairs(row) == [0, 0, 1, 1, 2, 3, 4, 5]
        assert group_pairs(row, gap=600) == [0, 0, 1, 1, 2, 2, 3, 4]
        assert group_pairs(row, gap=1e6) == [0] * 8

    def test_given_groups_stand(self, row):
        named = [replace(pair, group="ab"[n % 2]) for n, pair in enumerate(row)]
        assert group_pairs(named, gap=1e6) == [0, 1] * 4

    def test_crops_of_one_picture_are_known_by_their_pixels(self, tmp_path):
        one = chip(tmp_path, "one", 0, seed=1, side=120)
        two = chip(tmp_path, "two", 0, seed=2, side=120)
        crops = [
            crop_of(tmp_path, one, "a", 0, 0, 60),
            crop_of(tmp_path, two, "b", 0, 0, 60),
            crop_of(tmp_path, one, "c", 45, 50, 40),  # shares 15 x 10 px with a
            crop_of(tmp_path, one, "d", 0, 60, 30),  # beside a
            crop_of(tmp_path, two, "e", 0, 0, 60),  # all of b
        ]
        assert group_pairs(crops) == [0, 1, 0, 2, 1]


class TestSplits:
    @pytest.mark.parametrize("seed", range(3))
    def test_whole_places_are_dealt(self, row, seed):
        roles = split_pairs(row, val=0.2, test=0.2, seed=seed, gap_m=100)
        used = [at for part in (roles.train, roles.val, roles.test) for at, _ in part]
        assert sorted(used) == list(range(8))
        assert roles.val
        assert roles.test
        groups = group_pairs(row, gap=100)
        where = {at: n for n, part in enumerate((roles.train, roles.val, roles.test))
                 for at, _ in part}  # fmt: skip
        assert all(
            where[a] == where[b] for a in range(8) for b in range(8) if groups[a] == groups[b]
        )
        assert check_leakage(row, roles, gap_m=100).distance > 100
        assert roles == split_pairs(row, val=0.2, test=0.2, seed=seed, gap_m=100)
        assert "whole places" in roles.how

    @pytest.mark.parametrize("gap", [None, 80.0])
    def test_one_scene_is_cut_into_blocks_with_a_gap(self, tmp_path, gap):
        pair = chip(tmp_path, "big", 0, seed=3, side=200)
        roles = split_pairs([pair], val=0.25, test=0.25, gap_m=gap)
        counts = np.zeros(pair.scene.shape, int)
        for role in ("train", "val", "test"):
            pairs, windows = roles.of(role, [pair])
            assert pairs == [pair]
            for window in windows[0]:
                counts[window.slices] += 1
            found = np.bincount(
                np.concatenate([pair.labels.read(w).ravel() for w in windows[0]]), minlength=256
            )
            assert found[0] > 0
            assert found[1] > 0
        assert counts.max() == 1
        assert check_leakage([pair], roles, gap_m=gap or 60).distance >= 60

    def test_two_dates_of_a_place_share_their_blocks(self, tmp_path):
        pairs = [chip(tmp_path, name, 0, seed=3, side=160) for name in ("may", "june")]
        beside = chip(tmp_path, "beside", 1500, seed=4, side=160)  # overlaps by 100 m
        roles = split_pairs([*pairs, beside], val=0.2, test=0.2, gap_m=40)
        for part in (roles.train, roles.val, roles.test):
            windows = dict(part)
            assert windows.get(0) == windows.get(1)
        assert check_leakage([*pairs, beside], roles, gap_m=40).distance >= 39

    def test_chips_without_a_place_are_dealt_too(self, tmp_path):
        whole = chip(tmp_path, "whole", 0, seed=1, side=200)
        crops = [crop_of(tmp_path, whole, f"c{n}", 50 * n, 0, 45) for n in range(4)]
        crops += [crop_of(tmp_path, whole, f"d{n}", 50 * n, 60, 45) for n in range(4)]
        roles = split_pairs(crops)
        assert len(roles.train) + len(roles.val) == 8
        leakage = check_leakage(crops, roles)
        assert leakage.distance is None
        assert "without a CRS" in str(leakage)
        with pytest.raises(SplitError, match="1 of 1 .* are labelled|have no size"):
            split_pairs(crops[:1], gap_m=10)

    def test_no_role_lacks_a_class_that_two_places_have(self, row):
        """The rarest class is in two of eight places; training and validation get one each."""
        rare = [replace(pair, labels=_Codes(2 if n in {4, 6} else 0)) for n, pair in enumerate(row)]
        for seed in range(5):
            roles = split_pairs(rare, val=0.25, seed=seed, gap_m=0)
            held = {at for at, _ in roles.val}
            assert len(held & {4, 6}) == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"val": 0.5, "test": 0.5}, "needed shares from 0 that leave something"),
            ({"val": -0.1}, "needed shares from 0"),
        ],
    )
    def test_shares_out_of_range(self, row, options, said):
        with pytest.raises(SplitError, match=said):
            split_pairs(row, **options)

    def test_too_few_labels(self, row):
        bare = [replace(pair, labels=_Codes(255)) for pair in row]
        with pytest.raises(SplitError, match="0 of 6 places are labelled; needed 2 or more"):
            split_pairs(bare, gap_m=0)
        with pytest.raises(SplitError, match="no pairs to split"):
            split_pairs([])
        assert split_pairs(row, val=0).how == "no split"


class _Codes:
    """Labels of one code."""

    def __init__(self, code):
        self.code = code

    def read(self, window):
        return np.full((window.height, window.width), self.code, np.uint8)


class TestLeaks:
    def given(self, row, splits):
        return [replace(pair, split=role) for pair, role in zip(row, splits.split(), strict=True)]

    def test_given_splits_that_lie_apart(self, row):
        pairs = self.given(row, "train train train train val val test test")
        roles = given_roles(pairs)
        assert roles.how == "split as given: 4 train, 2 val, 2 test"
        leakage = check_leakage(pairs, roles)
        assert leakage.leaks == ()
        assert leakage.distance == pytest.approx(9_040, rel=0.01)
        assert "9,0" in str(leakage)

    @pytest.mark.parametrize(
        ("splits", "gap", "said"),
        [
            ("train test train train train train test test", 0,
             r"chip_0 \(training\) and chip_1 \(test\) overlap; needed more than 0 m"),
            ("train train train val val val val val", 0, r"chip_2 .* and chip_3 .* touch"),
            ("train train train train train val val val", 600,
             r"chip_4 .* and chip_5 .* lie 500 m apart; needed more than 600 m"),
        ],
    )  # fmt: skip
    def test_leaks_are_refused_with_what_was_found(self, row, splits, gap, said):
        pairs = self.given(row, splits)
        with pytest.raises(SplitError, match=said):
            check_leakage(pairs, given_roles(pairs), gap_m=gap)
        allowed = check_leakage(pairs, given_roles(pairs), gap_m=gap, allow=True)
        assert len(allowed.leaks) == 1

    def test_a_group_in_two_roles(self, row):
        pairs = self.given(row, "train train train train val val val val")
        pairs = [
            replace(pair, group="fire" if n in {0, 7} else str(n // 2))
            for n, pair in enumerate(pairs)
        ]
        with pytest.raises(SplitError, match=r"chip_0 .* and chip_7 .* are of one group, fire"):
            check_leakage(pairs, given_roles(pairs))

    def test_the_same_picture_twice_without_a_crs(self, tmp_path):
        whole = chip(tmp_path, "whole", 0, seed=1, side=100)
        a, b = (crop_of(tmp_path, whole, name, at, at, 50) for name, at in (("a", 0), ("b", 30)))
        pairs = [replace(a, split="train"), replace(b, split="test")]
        with pytest.raises(SplitError, match=r"a \(training\) and b \(test\) share pixels"):
            check_leakage(pairs, given_roles(pairs))
        touching = Roles(train=((0, (Window(0, 0, 10, 10),)),), val=((0, (Window(0, 10, 9, 9),)),))
        with pytest.raises(SplitError, match=r"a \(training\) and a \(validation\) touch"):
            check_leakage(pairs, touching)

    def test_roles_in_one_step(self, row):
        roles, leakage = find_roles(row, gap_m=100)
        assert roles == split_pairs(row, gap_m=100)
        assert leakage.distance > 100
        pairs = self.given(row, "train train train train train train test test")
        roles, _ = find_roles(pairs)
        assert [at for at, _ in roles.test] == [6, 7]
        assert roles.val
        assert "validation drawn from training" in roles.how
        leaking = self.given(row, "train test train train train train test test")
        with pytest.raises(SplitError, match="overlap"):
            find_roles(leaking)
        assert find_roles(leaking, allow_leakage=True)[1].leaks

    def test_splits_that_are_no_splits(self, row):
        with pytest.raises(SplitError, match="7 of 8 pairs have no split, such as chip_1"):
            given_roles([replace(row[0], split="train"), *row[1:]])
        with pytest.raises(SplitError, match="none of 8 pairs is given to training"):
            given_roles(self.given(row, "test " * 8))


@given(st.lists(st.integers(0, 63), unique=True, max_size=64))
def test_joined_windows_cover_the_same_pixels(cells):
    windows = [Window(3 * (n // 8), 5 * (n % 8), 3, 5) for n in cells]
    before, after = np.zeros((24, 40), int), np.zeros((24, 40), int)
    for window in windows:
        before[window.slices] += 1
    joined = join_windows(windows)
    for window in joined:
        after[window.slices] += 1
    np.testing.assert_array_equal(before, after)
    assert len(joined) <= len(windows)
