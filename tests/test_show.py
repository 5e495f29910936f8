"""Cards in notebooks: a thumbnail where that is quick, every fact, nothing that runs."""

import base64
import re
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import rasterio
from matplotlib.image import imread

import geofm
import geofm.show
from geofm.assess.check import CheckReport, Finding
from geofm.scenes.picture import scene_images, thin_places


def picture(html: str):
    found = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    return None if found is None else imread(BytesIO(base64.b64decode(found[1])))


def check_balanced(html: str) -> None:
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(html)
    assert not open_tags
    assert "<script" not in html


def test_a_scene(make_scene) -> None:
    scene = geofm.open_scene(make_scene("a<b>.tif", height=300, width=500))
    html = scene._repr_html_()
    check_balanced(html)
    assert "a&lt;b&gt;" in html
    for text in (*scene.bands, "300 rows", "EPSG:32633", "true colour"):
        assert text in html
    image = picture(html)
    assert image.shape[:2] == (144, 240)
    wanted, _ = scene_images(scene, *thin_places(scene.shape, 240))
    np.testing.assert_allclose(image[..., :3], wanted[0], atol=1 / 200)
    assert len(html) < 200_000


def test_a_scene_of_one_pixel(make_scene) -> None:
    html = geofm.open_scene(make_scene(height=1, width=1))._repr_html_()
    assert picture(html).shape[:2] == (1, 1)


def test_a_large_scene_shows_its_middle(make_scene, monkeypatch) -> None:
    monkeypatch.setattr(geofm.show, "MAX_PIXELS", 1000)
    monkeypatch.setattr(geofm.show, "MIDDLE", 40)
    scene = geofm.open_scene(make_scene(height=100, width=120))
    html = scene._repr_html_()
    assert "true colour, the middle" in html
    array = scene.to_xarray()[..., 30:70, 40:80].compute()
    wanted, _ = scene_images(geofm.open_scene(array), *thin_places((40, 40), 40))
    np.testing.assert_allclose(picture(html)[..., :3], wanted[0], atol=1 / 200)


def test_what_takes_long_has_no_thumbnail(make_scene) -> None:
    pytest.importorskip("dask")
    array = geofm.open_scene(make_scene()).to_xarray()
    lazy = geofm.open_scene(array.chunk({"y": 20}))
    assert picture(lazy._repr_html_()) is None
    assert "bands" in lazy._repr_html_()
    assert picture(geofm.open_scene(array.compute())._repr_html_()) is not None


def test_a_damaged_scene_still_has_a_card(make_scene) -> None:
    path = make_scene(height=400, width=400)
    scene = geofm.open_scene(path)
    path.unlink()
    html = scene._repr_html_()
    check_balanced(html)
    assert picture(html) is None


def test_a_model(flood_folder) -> None:
    html = geofm.load_model(flood_folder)._repr_html_()
    check_balanced(html)
    for text in ("tiny flood", "not water", "#2166ac", "swir22", "cc-by-4.0", "IoU 0.812"):
        assert text in html


def test_a_map_that_was_written(flood_folder, make_scene, tmp_path) -> None:
    scene, model = geofm.open_scene(make_scene()), geofm.load_model(flood_folder)
    report = geofm.map_scene(model, scene, tmp_path / "a<b>.tif")
    html = report._repr_html_()
    check_balanced(html)
    for text in ("a&lt;b&gt;.tif", "tiny flood", "#2166ac", "EPSG:32633", "seam score"):
        assert text in html
    codes = model.map(scene).classes.values
    wanted = np.full((*codes.shape, 3), 1.0)
    for code, color in enumerate(("#e8e1d3", "#2166ac")):
        wanted[codes == code] = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    np.testing.assert_allclose(picture(html)[..., :3], wanted, atol=1e-6)
    assert str(report).startswith(f"map {report.path}\n")
    assert f"{report.seam_score:.3f} (1 means no seams)" in str(report)
    report.path.unlink()
    assert "there is no" in report._repr_html_()  # a card does not fail


def test_a_batch_tells_what_failed(flood_folder, make_scene, tmp_path) -> None:
    (tmp_path / "scenes").mkdir()
    make_scene("scenes/a.tif")
    (tmp_path / "scenes" / "<b>.tif").write_bytes(b"II*\0 no raster")
    maps = tmp_path / "maps"
    report = geofm.map_batch(flood_folder, tmp_path / "scenes", maps, workers=0, tries=1)
    page, html = str(report), report._repr_html_()
    check_balanced(html)
    for text in (str(maps), "1 of 2 scenes mapped, 1 failed", "this process with 1 thread"):
        assert text in page
        assert text in unescape(html)
    assert page.splitlines()[-1].lstrip().startswith("failed")
    assert repr(report) == page


def written(codes, scene):
    """Labels in a file beside their scene."""
    path = Path(scene.paths[0]).with_name("labels.tif")
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=codes.shape[0],
        width=codes.shape[1], crs=scene.geobox.crs.to_wkt(), transform=scene.geobox.affine,
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return path


def test_scores_and_areas_carry_their_intervals(flood_folder, make_scene, areas_of) -> None:
    scene, model = geofm.open_scene(make_scene("far.tif")), geofm.load_model(flood_folder)
    target = np.zeros(scene.shape, np.uint8)
    target[:30] = 1
    labels = geofm.open_labels(written(target, scene), scene.geobox)
    score = geofm.evaluate(model, [geofm.Pair(scene, labels, "far")], allow_leakage=True)
    html = score._repr_html_()
    check_balanced(html)
    for kind in score.class_scores:
        assert f"{kind.iou.value:.3f}" in html
    assert score.exposure.sentence in unescape(html)

    found = areas_of(
        ("<b>", 9.0, 1823.4, (1723.4, 1923.4)), ("land", 9.0, 9123.4, (9118.4, 9128.4))
    )
    html = found._repr_html_()
    check_balanced(html)
    for text in ("&lt;b&gt;", "<b>1,823.4</b>", "1,723.4 to 1,923.4", "18 points"):
        assert text in html


def test_a_check_shows_problems_first() -> None:
    findings = (Finding("problem", "labels are shifted"), Finding("advice", "few <pixels>"))
    html = CheckReport(2, {"sizes": "9 x 9"}, {"water": 12}, findings)._repr_html_()
    check_balanced(html)
    assert html.index("labels are shifted") < html.index("few &lt;pixels&gt;") < html.index("9 x 9")
