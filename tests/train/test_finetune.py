"""Fine-tuning: the model reads what the labelled scenes are, and learns as it is told to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geofm.contract import PixelContract
from geofm.errors import BandError, ConfigError, LabelError, ModelError, SceneError, SplitError
from geofm.model.adapt import adapted
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder, load_model_folder, read_description, save_model
from geofm.model.heads import HeadConfig
from geofm.model.losses import loss_terms
from geofm.model.metrics import confusion_matrix, mean_iou
from geofm.model.segmenter import Segmenter
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels
from geofm.scenes.window import Window
from geofm.tasks import FLOOD, IGNORE, SHARED_BANDS, MapClass
from geofm.tiles.area import Area
from geofm.tiles.labelled import FixedWindows
from geofm.train.config import EncoderShape, FinetuneConfig
from geofm.train.finetune import finetune_segmenter
from geofm.train.labelling import Labelling, ValidationScore
from geofm.train.rates import finetuning_rates
from geofm.train.roles import finetuning_roles

CONFIG = FinetuneConfig(
    steps=4, batch_size=4, channels=16, learning_rate=3e-3, encoder_rate=1.0, start="random"
)
SHAPE = EncoderConfig(bands=6, image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)
CONTRACT = PixelContract(SHARED_BANDS, "surface", (0.15,) * 6, (0.05,) * 6, 10.0)
HEIGHT, WIDTH = 61, 83


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return PretrainedEncoder(
        encoder=Encoder(SHAPE).eval(),
        contract=CONTRACT,
        name="random",
        provenance={"licences": []},
    )


@pytest.fixture
def make_pair(make_scene, tmp_path):
    def build(name="lake", *, seed=3, **options):
        path = make_scene(f"{name}.tif", seed=seed, **options)
        labels = make_labels(tmp_path / f"{name}_labels.tif", path, seed=seed)
        scene = open_scene(path)
        return Pair(scene, open_labels(labels, scene.geobox), name)

    return build


@pytest.fixture
def pair(make_pair):
    return make_pair()


class Codes:
    """Labels held in memory."""

    def __init__(self, codes):
        self.codes = codes

    def read(self, window=None):
        return self.codes if window is None else self.codes[window.slices]


def finetune(*pairs, config=CONFIG, classes=FLOOD.classes, task="flood", **options):
    return finetune_segmenter(task, classes, pairs, config=config, **options)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# -- what the model reads


def test_statistics_stay_the_encoders_where_the_level_does(pair, encoder):
    model = finetune(pair, encoder=encoder)
    assert model.contract == replace(
        CONTRACT, resolution=pair.scene.resolution, masked_qa=FLOOD.masked_qa
    )
    assert model.provenance["adapted"] == []


def test_another_level_resolution_and_number_of_dates_are_taken_and_told(make_pair, encoder):
    from affine import Affine

    coarse = Affine(30, 0, 330000, 0, -30, 5822040)
    pair = make_pair("toa", level="toa", dates=3, transform=coarse)
    told = []
    model = finetune(
        pair, encoder=encoder, task="custom", progress=lambda done, text: told.append(text)
    )
    contract = model.contract
    assert (contract.level, contract.dates) == ("toa", 3)
    assert contract.resolution == pytest.approx(30, rel=0.01)
    seen = pair.scene.read()
    plain = [seen.values[:, c][seen.valid].astype(np.float64).mean() for c in range(6)]
    np.testing.assert_allclose(contract.mean, plain, rtol=1e-9)
    changes = model.provenance["adapted"]
    assert len(changes) == 3
    assert "surface reflectance to top-of-atmosphere reflectance" in changes[0]
    assert "10 to 30 m" in changes[1]
    assert changes[2] == "dates from 1 to 3"
    assert any("; ".join(changes) in text for text in told)


def test_a_model_of_more_dates_maps_and_says_so_on_its_card(make_pair, encoder, tmp_path):
    from geofm.predict.mapping import map_in_memory

    pair = make_pair("dates", dates=2)
    saved = save_model(finetune(pair, encoder=encoder, task="burn_scar"), tmp_path / "m.geofm")
    loaded = load_model_folder(tmp_path / "m.geofm")
    assert loaded.segmenter.encoder.config.dates == 2
    assert loaded.provenance["adapted"] == saved.provenance["adapted"]
    assert "dates from 1 to 2" in (tmp_path / "m.geofm" / "README.md").read_text()
    assert map_in_memory(loaded, pair.scene).classes.shape == (HEIGHT, WIDTH)


def test_bands_are_the_encoders_in_its_order(pair, encoder):
    shuffled = replace(pair, scene=pair.scene.select(bands=SHARED_BANDS[::-1]))
    one, two = (finetune(each, encoder=encoder) for each in (pair, shuffled))
    assert two.contract.bands == SHARED_BANDS
    for name, tensor in weights(one.segmenter).items():
        assert tensor.equal(two.segmenter.state_dict()[name])
    lacking = replace(pair, scene=pair.scene.select(bands=SHARED_BANDS[:4]))
    with pytest.raises(BandError, match="needs swir16, swir22 too"):
        finetune(lacking, encoder=encoder)


def test_another_size_of_samples_is_that_of_the_model(pair, encoder):
    model = finetune(pair, encoder=encoder, config=replace(CONFIG, image_size=24, encoder_rate=0))
    shape = model.segmenter.encoder.config
    assert (shape.image_size, shape.position_size) == (24, None)
    new = Encoder(replace(SHAPE, image_size=24))
    assert model.segmenter.encoder.positions.table.equal(new.positions.table)
    scratch = finetune(pair, config=replace(CONFIG, image_size=24, scratch=_shape()))
    assert scratch.segmenter.encoder.config.image_size == 24


def _shape():
    return EncoderShape(image_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)


@pytest.mark.parametrize("learned", [False, True])
def test_an_encoder_for_other_inputs_has_the_same_weights(learned):
    torch.manual_seed(0)
    made = Encoder(replace(SHAPE, learned_positions=learned)).eval()
    same = adapted(made, dates=1, image_size=16)
    x = torch.randn(2, 1, 6, 16, 16)
    assert same(x).equal(made(x))
    other = adapted(made, dates=3, image_size=24)
    assert (other.config.dates, other.config.image_size) == (3, 24)
    for name, tensor in made.state_dict().items():
        assert other.state_dict()[name].equal(tensor)
        assert other.state_dict()[name].data_ptr() != tensor.data_ptr()
    assert other(torch.randn(2, 3, 6, 24, 24)).isfinite().all()
    if learned:  # one code for all dates, resized as it would be at the old size
        expected = made.positions((1, 6, 6)).repeat(1, 3, 1)
        assert other.positions((3, 6, 6)).equal(expected)


def test_dates_that_tokens_cannot_hold_are_refused():
    pairs_of_dates = Encoder(replace(SHAPE, dates=2, tubelet=2))
    with pytest.raises(ModelError, match="scenes have 3 dates and a token of the encoder spans 2"):
        adapted(pairs_of_dates, dates=3, image_size=16)


# -- which weights learn


def segmenter(depth=3):
    torch.manual_seed(0)
    return Segmenter(
        Encoder(replace(SHAPE, depth=depth)), HeadConfig(classes=2, depths=(depth - 1,))
    )


def test_rates_fall_layer_by_layer_and_hold_every_weight_once():
    net = segmenter()
    rates = finetuning_rates(
        net, replace(CONFIG, learning_rate=1.0, encoder_rate=0.5, layer_decay=0.5), pretrained=True
    )
    found = {id(p): rate.learning_rate for rate in rates for p in rate.parameters}
    assert sum(len(rate.parameters) for rate in rates) == len(found)
    assert found.keys() == {id(p) for p in net.parameters()}
    named = {name: found[id(p)] for name, p in net.named_parameters()}
    assert named["head.logits.weight"] == 1.0
    assert named["encoder.norm.weight"] == 0.5
    assert [named[f"encoder.blocks.{i}.attn.qkv.weight"] for i in range(3)] == [1 / 16, 1 / 8, 0.25]
    assert named["encoder.patch_embed.proj.weight"] == named["encoder.cls_token"] == 1 / 32


def test_lora_trains_its_own_numbers_and_leaves_a_plain_model(pair, encoder, tmp_path):
    model = finetune(pair, encoder=encoder, config=replace(CONFIG, lora=4))
    before, after = weights(encoder.encoder), weights(model.segmenter.encoder)
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved == {
        f"blocks.{i}.{part}.weight"
        for i in range(2)
        for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    save_model(model, tmp_path / "m.geofm")
    assert load_model_folder(tmp_path / "m.geofm").report.share == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lora": 4, "encoder_rate": 0}, "encoder_rate is 0 and lora 4"),
        ({"layer_decay": 0}, "layer_decay is 0"),
        ({"loss": "hinge"}, "loss is 'hinge'; needed ce, focal, dice or ce.dice"),
        ({"class_weights": "all"}, "class_weights is 'all'; needed none or balanced"),
        ({"patience": -1}, "patience is -1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        replace(CONFIG, **change)


def test_ways_that_need_an_encoder_say_so(pair, encoder, tmp_path):
    scratch = replace(CONFIG, scratch=_shape())
    with pytest.raises(ConfigError, match="lora is 4 and there is no encoder to keep"):
        finetune(pair, config=replace(scratch, lora=4))
    with pytest.raises(ConfigError, match="features are kept of a pretrained encoder that does"):
        finetune(pair, config=replace(scratch, encoder_rate=0), features=tmp_path)
    with pytest.raises(ConfigError, match="no rate for it to learn at"):
        finetune(pair, encoder=encoder, features=tmp_path)


def test_an_encoder_learns_by_default_where_labels_choose_the_weights(pair, encoder, tmp_path):
    kept = weights(encoder.encoder)
    config = replace(CONFIG, encoder_rate=None)

    def learns(*, config=config, **how) -> bool:
        model = finetune(pair, encoder=encoder, config=config, **how)
        found = weights(model.segmenter.encoder)
        changed = any(not found[name].equal(tensor) for name, tensor in kept.items())
        assert changed == bool(model.provenance["config"]["encoder_rate"])
        return changed

    halves = [Window(0, 0, HEIGHT, 40)], [Window(0, 48, HEIGHT, WIDTH - 48)]
    chosen = {"windows": halves[:1], "val": [pair], "val_windows": halves[1:]}
    assert learns(**chosen)
    assert not learns()
    assert not learns(**chosen, features=tmp_path)
    assert learns(config=replace(config, encoder_rate=0.1))
    assert not learns(config=replace(config, encoder_rate=0), **chosen)
    assert learns(config=replace(config, lora=2))


@pytest.mark.parametrize("loss", ["ce", "focal", "dice", "ce+dice"])
def test_every_loss_learns(pair, encoder, loss):
    config = replace(CONFIG, steps=12, batch_size=6, loss=loss, class_weights="balanced")
    learnt, first = (
        finetune(pair, encoder=encoder, config=each).provenance["loss"]
        for each in (config, replace(config, steps=1))
    )
    assert learnt < 0.95 * first


# -- labels


def test_labels_on_pixels_that_are_not_valid_do_not_count(pair, encoder):
    codes = pair.labels.read().copy()
    valid = pair.scene.read().valid[0]
    assert not valid.all()
    other = codes.copy()
    other[~valid] = 1 - codes[~valid].clip(max=1)
    one, two = (
        finetune(replace(pair, labels=Codes(each)), encoder=encoder) for each in (codes, other)
    )
    seen = np.bincount(codes[valid & (codes < 2)], minlength=2)
    assert list(one.provenance["labelled_pixels"].values()) == seen.tolist()
    assert one.provenance["labelled_pixels"] == two.provenance["labelled_pixels"]


def test_labels_that_teach_nothing_are_refused(pair, encoder):
    valid = pair.scene.read().valid[0]
    hidden = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    hidden[~valid] = np.arange((~valid).sum()) % 2
    with pytest.raises(LabelError, match="where scenes are valid, pixels are labelled nowhere"):
        finetune(replace(pair, labels=Codes(hidden)), encoder=encoder)
    hidden[:5] = 1
    with pytest.raises(LabelError, match="labelled only of class 1; all other labels lie on fill"):
        finetune(replace(pair, labels=Codes(hidden)), encoder=encoder)
    nothing = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    with pytest.raises(LabelError, match="no pixel of the training area is labelled"):
        finetune(replace(pair, labels=Codes(nothing)), encoder=encoder)
    with pytest.raises(LabelError, match="all labels of the training area are class 0"):
        finetune(replace(pair, labels=Codes(nothing * 0)), encoder=encoder)
    with pytest.raises(LabelError, match="labels hold code 7"):
        finetune(replace(pair, labels=Codes(np.where(valid, 7, nothing))), encoder=encoder)


def test_an_absent_class_is_told_and_leaves_the_score_a_number(pair, encoder):
    three = (*FLOOD.classes, MapClass("snow", "#ffffff"))
    told = []
    model = finetune(
        pair,
        encoder=encoder,
        classes=three,
        val=[pair],
        config=replace(CONFIG, class_weights="balanced"),
        progress=lambda done, text: told.append(text),
    )
    assert any("no label of snow: the model will not know it" in text for text in told)
    assert 0 <= model.provenance["validation"]["mean IoU"] <= 1
    assert model.provenance["labelled_pixels"]["snow"] == 0


# -- validation


@pytest.mark.parametrize(("size", "overlap"), [(16, 0), (16, 4), (24, 8), (100, 0)])
def test_windows_that_count_once_show_each_label_once(pair, size, overlap):
    places = (Window(0, 0, 30, WIDTH), Window(31, 7, 30, 50))
    area = Area(pair.scene, places, pair.labels)
    windows = FixedWindows([area], size=size, overlap=overlap, once=True, classes=2)
    met = np.zeros((HEIGHT, WIDTH), int)
    for number, (_, place, window, owned) in enumerate(windows.windows):
        sample = windows[number]
        assert sample.target.shape == (size, size)
        counted = sample.target.numpy()[: window.height, : window.width] != IGNORE
        met[window.slices] += counted
        assert owned == owned.clip(HEIGHT, WIDTH)
        assert place in places
        pixels = pair.scene.read_stored(window)
        np.testing.assert_array_equal(
            sample.dn[:, :, : window.height, : window.width], pixels.dn.astype(np.float32)
        )
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for place in places:
        expected[place.slices] = pair.labels.read()[place.slices] != IGNORE
    np.testing.assert_array_equal(met, expected)
    assert windows.pixels.sum() == expected.sum()


def test_the_best_weights_are_kept_and_their_score_is_the_models(pair, encoder):
    halves = [Window(0, 0, HEIGHT, 40)], [Window(0, 48, HEIGHT, WIDTH - 48)]
    config = replace(CONFIG, steps=24, val_every=3, learning_rate=2e-2, clip=0, patience=0)
    model = finetune(
        pair, encoder=encoder, config=config, windows=halves[:1], val=[pair], val_windows=halves[1:]
    )
    found = model.provenance["validation"]
    area = Area(pair.scene, tuple(halves[1]), pair.labels)
    windows = FixedWindows([area], size=16, once=True, classes=2)
    score = ValidationScore(model.segmenter, model.contract, windows, classes=2, batch_size=4)
    assert score() == pytest.approx(found["mean IoU"], abs=1e-6)
    assert found["step"] % 3 == 0

    # ... which is that of a plain loop over the windows.
    confusion = np.zeros((2, 2), np.int64)
    for number in range(len(windows)):
        sample = windows[number]
        values = (sample.dn * sample.scale[..., None, None] + sample.offset[..., None, None])[None]
        x = (values - torch.tensor(model.contract.mean)[:, None, None]) / torch.tensor(
            model.contract.std
        )[:, None, None]
        x = x.masked_fill(~sample.valid[None, :, None], 0)
        with torch.inference_mode():
            classes = model.segmenter(x.float())[0].argmax(0)
        target = sample.target.masked_fill(~sample.valid[0], IGNORE)
        confusion += confusion_matrix(classes, target, classes=2)
    assert score() == pytest.approx(float(mean_iou(confusion)), abs=1e-3)


def test_training_stops_early_and_both_footprints_are_told(pair, encoder, tmp_path):
    import shapely

    halves = [Window(0, 0, HEIGHT, 40)], [Window(0, 48, HEIGHT, WIDTH - 48)]
    told = []
    config = replace(CONFIG, steps=60, val_every=1, patience=2, learning_rate=1e-6)
    model = finetune(
        pair,
        encoder=encoder,
        config=config,
        windows=halves[:1],
        val=[pair],
        val_windows=halves[1:],
        progress=lambda done, text: told.append(done),
    )
    assert model.provenance["validation"]["step"] < 60
    save_model(model, tmp_path / "m.geofm")
    facts = read_description(tmp_path / "m.geofm").provenance.model_dump(mode="json")
    train, val = (
        shapely.geometry.shape(facts[key]) for key in ("training_footprint", "validation_footprint")
    )
    assert train.distance(val) > 0
    assert val.area / train.area == pytest.approx((WIDTH - 48) / 40, rel=0.01)


def test_labels_are_split_by_area_where_they_are_enough(make_pair):
    large = make_pair("large", height=300, width=300)
    roles = finetuning_roles([large], val=0.25)
    assert roles.train
    assert roles.val
    assert "split by area" in roles.how
    assert not finetuning_roles([large], val=0.0).val

    few = np.full(large.scene.shape, IGNORE, np.uint8)
    few[10:20, 10:20], few[250:260, 250:260] = 0, 1
    roles = finetuning_roles([replace(large, labels=Codes(few))], val=0.25)
    assert not roles.val
    assert roles.how.startswith("no validation: ")
    assert roles.train == ((0, (Window(0, 0, 300, 300),)),)


def test_given_splits_are_kept_and_their_leaks_refused(make_pair):
    from affine import Affine

    def at(x, name, split):
        place = Affine(10, 0, 330000 + x, 0, -10, 5822040)
        return replace(make_pair(name, transform=place), split=split)

    apart = [at(0, "a", "train"), at(9000, "b", "val"), at(18000, "c", "test")]
    roles = finetuning_roles(apart)
    assert [at for at, _ in roles.train] == [0]
    assert [at for at, _ in roles.val] == [1]
    leaking = [apart[0], replace(apart[0], name="again", split="val")]
    with pytest.raises(SplitError, match="a .training. and again .validation. overlap"):
        finetuning_roles(leaking)
    assert "it leaks" in finetuning_roles(leaking, allow_leakage=True).how


def test_validation_scenes_go_with_the_others(make_pair, encoder):
    one, two = make_pair("one"), make_pair("two", dates=2)
    with pytest.raises(SceneError, match="two has 2 dates, one has 1"):
        finetune(one, encoder=encoder, val=[two])


# -- many dates


def test_all_dates_of_a_sample_turn_and_brighten_together(make_pair, encoder):
    """One turn and one brightness for every date and band: what differs by date is the ground."""
    from geofm.tiles.dataset import TileDataset, label_spots
    from geofm.tiles.transforms import turn

    pair = make_pair("dates", dates=3)
    area = Area(pair.scene, (Window(0, 0, HEIGHT, WIDTH),), pair.labels)
    tiles = TileDataset(
        [area], label_spots([area], classes=2, size=16), size=16, length=20, light=0.5
    )
    for index in range(20):
        sample, draw = tiles[index], tiles.draw(index)
        stored = torch.from_numpy(pair.scene.read_stored(draw.window).dn.astype(np.float32))
        assert sample.dn.equal(turn(stored, draw.turn))
        codes = torch.from_numpy(pair.labels.read(draw.window))
        assert sample.target.equal(turn(codes, draw.turn))
        gains = sample.scale / torch.from_numpy(pair.scene.scale)
        assert gains.max() - gains.min() < 1e-6


def test_the_loss_of_a_batch_is_that_of_its_parts(pair, encoder):
    """What accumulation and many devices rest on: sums by parts, counts of the whole."""
    from torch.utils.data import default_collate

    area = Area(pair.scene, (Window(0, 0, HEIGHT, WIDTH),), pair.labels)
    windows = FixedWindows([area], size=16, classes=2)
    samples = [windows[number] for number in range(6)]
    net = segmenter(depth=2).eval()
    for kind in ("ce", "focal", "dice", "ce+dice"):
        objective = Labelling(net, CONTRACT, loss_terms(kind))
        whole = default_collate(samples)
        counts = objective.count(whole)
        parts = [default_collate(samples[:1]), default_collate(samples[1:])]
        assert torch.stack([objective.count(part) for part in parts]).sum(0).equal(counts)
        with torch.inference_mode():
            added = sum(objective.loss(part, counts) for part in parts)
            assert added.item() == pytest.approx(objective.loss(whole, counts).item(), rel=1e-5)


def test_more_dates_than_a_task_is_mapped_from_are_refused(make_pair, encoder):
    with pytest.raises(ConfigError, match="have 2 dates, and flood is mapped from 1 date"):
        finetune(make_pair("dates", dates=2), encoder=encoder)
