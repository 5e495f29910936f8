"""The page of a scene and its map: right without a browser, and working in one."""

import base64
import json
import re
import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
from affine import Affine
from PIL import Image

import geofm
from geofm import plot
from geofm.errors import GridError, OutputError
from geofm.export.webmap import web_page
from geofm.scenes.mercator import mercator_grid, source_places
from geofm.tasks import FLOOD, MapClass

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.fixture
def scene(make_scene):
    return geofm.open_scene(make_scene(height=150, width=190))


def codes_of(scene, seed=0):
    codes = np.random.default_rng(seed).integers(0, 2, scene.shape, np.uint8)
    codes[:20, :20] = 255
    return codes


def page_of(scene, codes, confidence=None, classes=FLOOD.classes, **options):
    return web_page(
        scene,
        dict(enumerate(classes)),
        lambda window: codes[window.slices],
        None if confidence is None else lambda window: confidence[window.slices],
        title="flood",
        **options,
    )


def facts_of(page):
    return json.loads(re.search(r"const MAP = (\{.*\});", page)[1])


def pictures_of(page):
    stored = re.findall(r'const (?:PICTURE|NUMBERS) = "data:image/\w+;base64,([^"]+)"', page)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(text)))) for text in stored]


def test_the_page_holds_the_map_where_it_lies(scene) -> None:
    codes = codes_of(scene)
    sure = np.random.default_rng(1).integers(0, 101, scene.shape, np.uint8)
    page = page_of(scene, codes, sure)
    facts, (picture, numbers) = facts_of(page), pictures_of(page)
    grid = mercator_grid(scene.geobox, 1600)
    assert (facts["height"], facts["width"]) == (grid.height, grid.width) == picture.shape[:2]
    assert (facts["left"], facts["top"]) == (grid.left, grid.top)
    rows, cols = source_places(scene.geobox, grid)
    on = (rows >= 0) & (rows < 150) & (cols >= 0) & (cols < 190)
    np.testing.assert_array_equal(numbers[on][:, 0], codes[rows[on], cols[on]])
    np.testing.assert_array_equal(numbers[on][:, 1], sure[rows[on], cols[on]])
    valid = scene.read(bands=("red",)).valid[0]
    np.testing.assert_array_equal(numbers[on][:, 2] == 255, valid[rows[on], cols[on]])
    assert (numbers[~on] == (255, 255, 0)).all()
    shares = {kind["name"]: kind["share"] for kind in facts["classes"]}
    assert shares["water"] == pytest.approx((codes == 1).sum() / (codes < 253).sum(), abs=0.01)


def test_it_needs_nothing_else(scene) -> None:
    page = page_of(scene, codes_of(scene))
    assert not re.search(r"(src|href)=|@import|url\(|fetch\(|https?:", page)
    assert "{{" not in page
    assert facts_of(page)["confidence"] is False


def test_names_of_classes_break_nothing(scene) -> None:
    classes = (MapClass("</script><b>{{NUMBERS}}", "#000000"), FLOOD.classes[1])
    page = page_of(scene, codes_of(scene), classes=classes)
    assert page.count("</script>") == 1
    assert facts_of(page)["classes"][0]["name"] == classes[0].name
    assert facts_of(page)["classes"][0]["html"].startswith("&lt;/script&gt;")


def test_a_page_too_large_is_thinned_over_the_same_ground(make_scene) -> None:
    scene = geofm.open_scene(make_scene(height=300, width=350))
    codes = codes_of(scene)
    whole, small = (page_of(scene, codes, most_bytes=most) for most in (2**22, 80_000))
    assert len(small) <= 80_000 < len(whole)
    a, b = facts_of(whole), facts_of(small)
    assert b["width"] < a["width"]
    assert (b["left"], b["top"]) == (a["left"], a["top"])
    assert b["width"] * b["across"] == pytest.approx(a["width"] * a["across"])
    assert b["height"] * b["down"] == pytest.approx(a["height"] * a["down"])


@pytest.fixture
def mapped(flood_folder, scene, tmp_path):
    model = geofm.load_model(flood_folder)

    def run(**options):
        return geofm.map_scene(model, scene, tmp_path / "out.tif", **options)

    return run


def test_a_map_comes_with_its_page_or_not_at_all(mapped, scene, tmp_path, monkeypatch) -> None:
    page = tmp_path / "pages" / "out.html"
    with pytest.raises(OutputError, match="no HTML name"):
        mapped(html=tmp_path / "out.png")
    report = mapped(html=page)
    assert report.files["html"] == page
    assert page.read_text() == plot.slippy(scene, report, title="out").html
    assert [path.name for path in page.parent.iterdir()] == ["out.html"]
    with pytest.raises(OutputError, match=r"out\.(html|tif) exists"):
        mapped(html=page)

    def fail(*_: object, **__: object) -> str:
        raise OutputError("no space")

    monkeypatch.setattr("geofm.predict.publish.web_page", fail)
    before = (tmp_path / "out.tif").stat().st_mtime_ns, page.stat().st_mtime_ns
    with pytest.raises(OutputError, match="no space"):
        mapped(html=page, overwrite=True)
    assert before == ((tmp_path / "out.tif").stat().st_mtime_ns, page.stat().st_mtime_ns)


def test_a_page_of_no_place_is_refused_before_any_work(flood_folder, make_scene, tmp_path) -> None:
    pole = Affine(10, 0, -400, 0, -10, 400)
    scene = geofm.open_scene(make_scene("pole.tif", crs="EPSG:3413", transform=pole))
    with pytest.raises(GridError, match="around a pole"):
        geofm.map_scene(
            geofm.load_model(flood_folder), scene, tmp_path / "o.tif", html=tmp_path / "o.html"
        )
    assert not list(tmp_path.glob("o*"))


def test_a_notebook_shows_it_in_a_frame(scene, mapped, tmp_path) -> None:
    shown = plot.slippy(scene, mapped())
    frame = shown._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert "<script" not in frame  # it is escaped, and runs in the frame alone
    assert "const MAP" not in repr(shown)
    assert shown.save(tmp_path / "a.html").read_text() == shown.html
    with pytest.raises(OutputError, match="exists"):
        shown.save(tmp_path / "a.html", overwrite=False)


def test_scene_and_map_must_go_together(make_scene, mapped) -> None:
    report = mapped()
    elsewhere = Affine(10, 0, 4e5, 0, -10, 5.7e6)
    other = geofm.open_scene(make_scene("b.tif", height=150, width=190, transform=elsewhere))
    with pytest.raises(GridError, match="lies elsewhere"):
        plot.slippy(other, report)


ACTS = {
    "as it opens": "",
    "faded": "opacity.value = 0; opacity.dispatchEvent(new Event('input'));",
    "class hidden": "document.querySelector('[data-code=\"1\"]').click();",
    "confidence": "document.querySelector('[value=confidence]').click();",
    "closer": (
        "view.dispatchEvent(new WheelEvent('wheel', {deltaY: -400, clientX: 600, clientY: 300}));"
    ),
    "moved": (
        "const at = (kind, x) => view.dispatchEvent(new PointerEvent(kind,"
        " {pointerId: 1, clientX: x, clientY: 300, bubbles: true}));"
        "view.setPointerCapture = () => {};"
        "at('pointerdown', 600); at('pointermove', 700); at('pointerup', 700);"
    ),
}


# The screenshot has another size than the first view; a map that was moved is not fitted anew.
HOLD = "".join(
    f"view.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}));"
    for key in ("ArrowUp", "ArrowDown")
)


def screenshot(page, act, folder):
    """What headless Chromium shows once the page is ready and something was done."""
    wait = (
        "<script>const done = setInterval(() => { if (document.body.dataset.ready) "
        f"{{ clearInterval(done); {HOLD}{act} }} }}, 10)</script></body>"
    )
    (folder / "page.html").write_text(page.replace("</body>", wait))
    subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=900,600",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=3000", f"--screenshot={folder / 'shot.png'}",
            (folder / "page.html").as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return np.asarray(Image.open(folder / "shot.png").convert("RGB")).astype(int)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_it_works_in_a_browser(scene, tmp_path) -> None:
    codes = np.zeros(scene.shape, np.uint8)
    codes[40:110, 60:130] = 1
    page = page_of(scene, codes, np.where(codes == 1, np.uint8(60), np.uint8(100)))
    shots = {name: screenshot(page, act, tmp_path) for name, act in ACTS.items()}
    first = shots["as it opens"][:, 240:]  # beside the panel

    def blue(shot):
        """Pixels in the colour of water over the scene, more blue than red by far."""
        return (shot[:, 240:, 2] - shot[:, 240:, 0] > 60).sum()

    water = blue(shots["as it opens"])
    assert water > 10_000
    assert blue(shots["faded"]) < water / 20
    assert blue(shots["class hidden"]) < water / 20
    assert 1.3 * water < blue(shots["closer"])
    assert blue(shots["moved"]) == pytest.approx(water, rel=0.02)
    apart = [
        np.argwhere(shot[:, 240:, 2] - shot[:, 240:, 0] > 60)[:, 1].mean()
        for shot in (shots["as it opens"], shots["moved"])
    ]
    assert apart[1] - apart[0] == pytest.approx(100, abs=2)
    assert (abs(shots["confidence"][:, 240:] - first).sum(axis=2) > 30).mean() > 0.2
