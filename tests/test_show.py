"""Cards in notebooks: a thumbnail where that is quick, every fact, nothing that runs."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

import geofm
import geofm.show
from geofm.scenes.picture import scene_images, thin_places


def picture(html: str):
    found = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    return None if found is None else imread(BytesIO(base64.b64decode(found[1])))


def check_balanced(html: str) -> None:
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag != "img":
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
