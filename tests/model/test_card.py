"""The model card: where, how good, under which licences; of any folder, old ones too."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from geofm.model.calibration import Calibration
from geofm.model.card import model_card
from geofm.model.folder import load_model_folder, read_description, save_model
from geofm.model.footprint_map import footprint_svg
from geofm.model.licences import licence_terms
from geofm.model.schema import MultiPolygon, Polygon
from geofm.model.score_tables import score_lines, score_tables

RELEASES = sorted((Path(__file__).parents[1] / "releases").glob("*/*.geofm"))


def square(x, y, side):
    corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y))
    return (corners,)


def parsed(svg):
    return ET.fromstring(svg)  # our own text


def numbers(svg):
    return [float(n) for n in re.findall(r'c[xy]="(-?[\d.]+)"', svg)]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_old_folders_have_a_card_and_a_map(folder) -> None:
    description = read_description(folder)
    card = model_card(description)
    assert "## Where it was trained" in card
    assert "](footprint.svg)" in card
    assert parsed(footprint_svg(description.provenance.training_footprint)) is not None


def saved(flood_folder, tmp_path, **provenance):
    model = load_model_folder(flood_folder)
    model = replace(model, provenance={**model.provenance, **provenance})
    save_model(model, tmp_path / "out.geofm")
    return (tmp_path / "out.geofm" / "README.md").read_text(encoding="utf-8")


def test_the_map_lies_beside_the_card(flood_folder, tmp_path) -> None:
    assert "![Places on a map of the world](footprint.svg)" in saved(flood_folder, tmp_path)
    assert (tmp_path / "out.geofm" / "footprint.svg").stat().st_size < 20_000


def test_no_footprint_no_map(flood_folder, tmp_path) -> None:
    assert "Not recorded" in saved(flood_folder, tmp_path, training_footprint=None)
    assert not (tmp_path / "out.geofm" / "footprint.svg").exists()


def test_many_sources_are_counted(flood_folder, tmp_path) -> None:
    card = saved(flood_folder, tmp_path, sources=[f"scene {at}" for at in range(1500)])
    assert "- Sources: scene 0, scene 1," in card
    assert "scene 11 and 1,488 more, in model.json." in card
    assert "scene 12" not in card


def test_marks_lie_where_the_places_are() -> None:
    whole = MultiPolygon(
        type="MultiPolygon",
        coordinates=(square(13, 51, 2), square(-60, -11, 2), square(144, -39, 2)),
    )
    assert numbers(footprint_svg(whole)) == [-60, 10, 14, -52, 144, 38]
    near = footprint_svg(Polygon(type="Polygon", coordinates=square(13.0, 51.0, 0.1)))
    assert "51.1°N" in near
    assert "°E" in near
    assert numbers(near) == [14, -52] or numbers(near) == [12, -52]


@pytest.mark.parametrize(
    "place", [square(-180, -90, 180), square(179.9, 89.9, 0.1), square(0, 0, 1e-6)]
)
def test_any_footprint_is_drawn(place) -> None:
    svg = footprint_svg(Polygon(type="Polygon", coordinates=place))
    assert parsed(svg).tag.endswith("svg")
    assert "nan" not in svg


ESTIMATE = {"value": 0.71234, "interval": [0.65, 0.75]}
EVALUATION = {
    "model": "flood",
    "sha256": "0" * 64,
    "mean_iou": ESTIMATE,
    "blocks": 12345,
    "classes": [
        {"name": "not|water", "iou": ESTIMATE},
        {"name": "water", "iou": {"value": None, "interval": None}, "labelled": 3},
    ],
    "confusion": [[10000, 2], [3, 4]],
    "slices": [],
    "notes": ["19 places", "none seen"],
    "leakage": {"overlap": False, "distance_m": None},
}


def test_an_evaluation_becomes_tables() -> None:
    text = "\n".join(score_tables(EVALUATION))
    for line in (
        "| mean IoU | 0.712 (0.650 to 0.750) |",
        "| blocks | 12,345 |",
        "| name | IoU | labelled |",
        "| not\\|water | 0.712 (0.650 to 0.750) | – |",
        "| water | – | 3 |",
        "| not\\|water | 10,000 | 2 |",
        "- 19 places",
        "| overlap | no |",
    ):
        assert line in text.splitlines(), line
    assert "sha256" not in text
    assert "slices" not in text


def test_an_evaluation_becomes_lines_of_a_page() -> None:
    assert list(score_lines(EVALUATION)) == [
        "mean IoU 0.712 (0.650 to 0.750)",
        "blocks 12,345",
        "not|water: IoU 0.712 (0.650 to 0.750)",
        "water: IoU –, labelled 3",
        "leakage: overlap no, distance m –",
        "more on the card, README.md: confusion, notes",
    ]


@pytest.mark.parametrize(
    "scores", [{}, {"a": {}}, {"a": []}, {"a": [[]]}, {"a": [[1], []]}, {"a": [1, "b", None]}]
)
def test_scores_of_any_shape(scores) -> None:
    for line in (*score_tables(scores), *score_lines(scores)):
        assert "\n" not in line


@pytest.mark.parametrize(
    ("licence", "headline"),
    [
        ("CC-BY-NC-4.0", "Not for commercial use"),
        ("MERIT DEM, non-commercial", "Not for commercial use"),
        ("cc-by-nd-4.0", "Not to be changed"),
        ("OpenStreetMap contributors, ODbL-1.0", "Share alike"),
        ("GPL-3.0", "Share alike"),
        ("cc-by-sa-4.0", "Share alike"),
    ],
)
def test_what_a_licence_forbids_is_said(licence, headline) -> None:
    assert [found for found, _ in licence_terms(["apache-2.0", licence])] == [headline]


@pytest.mark.parametrize("licence", ["apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "Ounce licence"])
def test_open_licences_are_not_cried_about(licence) -> None:
    assert licence_terms([licence], use="commercial") == []


def test_a_forbidden_use_is_said_loudly(flood_folder, tmp_path) -> None:
    card = saved(
        flood_folder,
        tmp_path,
        use="commercial flood insurance",
        encoder={"name": "base", "licences": ["cc-by-nc-4.0"]},
    )
    assert "> **THE STATED USE IS FORBIDDEN.** cc-by-nc-4.0" in card
    assert card.index("FORBIDDEN") < card.index("Maps **flood**")
    assert "Licences of base: cc-by-nc-4.0" in card
    assert licence_terms(["cc-by-nc-4.0"], use="non-commercial research")[0][0] != (
        "THE STATED USE IS FORBIDDEN"
    )


def test_the_card_tells_limits_from_its_own_facts(flood_folder, tmp_path) -> None:
    card = saved(flood_folder, tmp_path, scores={})
    limits = card[card.index("## Limits") :]
    for said in ("not water, water", "of 10 m", "not calibrated", "Nobody has measured"):
        assert said in limits
    model = load_model_folder(flood_folder)
    calm = replace(model, calibration=Calibration(1.5, None))
    save_model(calm, tmp_path / "calm.geofm")
    limits = (tmp_path / "calm.geofm" / "README.md").read_text()
    assert "is not calibrated" not in limits
    assert "Nobody has measured" not in limits
