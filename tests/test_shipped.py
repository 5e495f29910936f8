"""What ships is found by its name, and nothing else is."""

import geofm
from geofm.shipped import ENCODERS, encoder_folder, shipped


def test_encoders_ship_and_open_by_name() -> None:
    for name in ENCODERS:
        encoder = geofm.load_encoder(name)
        assert encoder.name == name
        assert encoder.provenance["licences"]
        assert encoder.provenance["training_footprint"]
        assert encoder.provenance["scores"]


def test_a_path_is_a_folder_only_where_it_is_one(tmp_path) -> None:
    assert encoder_folder(tmp_path) == tmp_path
    assert encoder_folder(tmp_path / "missing.geofm") is None
    assert encoder_folder("prithvi-eo-2.0-300m-tl") is None
    assert shipped("no such file") is None
