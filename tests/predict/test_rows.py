"""Rows that are read ahead are those of the scene, however its blocks lie."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm.errors import SceneError
from geofm.predict.rows import codes_of, read_rows
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window
from geofm.tasks import MASKED, NODATA

HEIGHT, WIDTH = 150, 170


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """The same pixels in blocks of several sizes, with a corner of nodata."""
    from geofm.scenes.synthetic import make_scene

    folder = tmp_path_factory.mktemp("rows")
    return [
        open_scene(make_scene(folder / f"{block}.tif", height=HEIGHT, width=WIDTH, block=block))
        for block in (16, 32, 64)
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 2),
    st.integers(8, 80),
    st.integers(0, 7),
    st.integers(0, 40),
    st.integers(0, 60),
    st.sampled_from([1024, 48]),
)
def test_every_need_is_the_scenes_own(scenes, monkeypatch, at, size, overlap, top, col, cols):
    monkeypatch.setattr("geofm.predict.rows.READ_COLS", cols)
    scene, step = scenes[at], size - overlap
    width = WIDTH - col + 9  # and beyond the grid
    needs = [Window(row, col, size, width) for row in range(top, HEIGHT, step)]
    whole = scene.read_stored()
    beyond = [(0, size), (0, 9)]
    dn = np.pad(whole.dn, [(0, 0), (0, 0), *beyond])
    valid = np.pad(whole.valid, [(0, 0), *beyond])
    codes = codes_of(valid, np.zeros_like(valid), 1)
    with ThreadPoolExecutor(3) as readers:
        found = list(read_rows(scene, needs, min_valid_dates=1, readers=readers))
    assert [rows.area for rows in found] == needs
    for need, rows in zip(needs, found, strict=True):
        np.testing.assert_array_equal(rows.valid, valid[:, *need.slices])
        np.testing.assert_array_equal(rows.codes, codes[need.slices])
        np.testing.assert_array_equal(rows.dn, dn[..., *need.slices])


@given(st.integers(1, 4), st.integers(0, 2**24 - 1), st.integers(1, 4))
def test_codes_say_why_a_pixel_is_not_mapped(dates, bits, least):
    drawn = np.array([bits >> n & 1 for n in range(24)], bool)
    valid = np.resize(drawn[:12], (dates, 2, 3))
    masked = np.resize(drawn[12:], (dates, 2, 3)) & ~valid
    for found, on, aside in zip(
        codes_of(valid, masked, least).ravel(),
        valid.reshape(dates, -1).T,
        masked.reshape(dates, -1).T,
        strict=True,
    ):
        needed = 0 if on.sum() >= least else MASKED if (on | aside).sum() >= least else NODATA
        assert found == needed


def test_a_source_that_fails_is_told_and_nothing_waits(scenes):
    class Broken:
        dtype, block_shape, identity = np.dtype(np.uint16), (16, 16), "broken"

        def read(self, window, dates, bands):
            if window.row >= 64:
                raise SceneError("rows 64 on cannot be read")
            return scenes[0].source.read(window, dates, bands)

    scene = replace(scenes[0], source=Broken())
    needs = [Window(row, 0, 32, WIDTH) for row in range(0, 128, 32)]
    with ThreadPoolExecutor(2) as readers:
        rows = read_rows(scene, needs, min_valid_dates=1, readers=readers)
        assert next(rows).area.row == 0
        assert next(rows).area.row == 32
        with pytest.raises(SceneError, match="rows 64 on"):
            list(rows)
