"""Dates from the names that agencies give."""

from datetime import date

import pytest

from geofm.errors import SceneError
from geofm.scenes.naming import date_in_name, split_date, to_date


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("S2A_L1C_T33UUU_20170216_13band_10m.tif", date(2017, 2, 16)),
        ("S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.tif", date(2022, 4, 13)),
        ("LC08_L2SP_005009_20150710_20200908_02_T2_SR_B2.TIF", date(2015, 7, 10)),
        ("HLS.S30.T13RCN.2024128T173909.v2.0.B04.tif", date(2024, 5, 7)),
        ("LE70220491999322EDC01_stack.tif", date(1999, 11, 18)),
        ("mosaic-2020-02-29.tif", date(2020, 2, 29)),
        ("/data/20190101/20200202.tif", date(2020, 2, 2)),
        ("https://host/x/20200202.tif", date(2020, 2, 2)),
        ("mosaic-2021-02-29.tif", None),
        ("Spain_7370579_S2Hand.tif", None),
        ("row_120200101.tif", None),
        ("HLS.S30.T13RCN.2023366T173909.v2.0.B04.tif", None),
    ],
)
def test_date_in_name(name, day):
    assert date_in_name(name) == day


def test_dated_descriptions():
    assert split_date("2018-04-19_RED") == (date(2018, 4, 19), "RED")
    assert split_date("RED") == (None, "RED")


def test_to_date():
    assert to_date("2020-01-31") == to_date(date(2020, 1, 31)) == date(2020, 1, 31)
    assert to_date(None) is None
    with pytest.raises(SceneError, match=r"'31.1.2020' is not a date"):
        to_date("31.1.2020")
