"""A linear probe: how much of a map can be read straight off a frozen encoder.

A reader of features, one logistic regression shared by all pixels, is taught on few
labelled scenes and scored on others. What it reads at a pixel:

- of an encoder, the features of the tokens around the pixel, bilinearly between their
  centres, and the pixel's own bands (``"tokens and bands"``), or the features alone
  (``"tokens"``). A token of 8 px cannot say which of its pixels a shore runs through;
  with the bands beside it the reader need not give up what any reader has;
- of nothing (``"bands"``): the pixel's own bands alone, which is what an encoder must beat;
- of the same encoder with random weights, the same as of the encoder.

All read the same pixels of the same scenes, under a penalty chosen in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from geofm.assess.leakage import check_exposure
from geofm.assess.parts import Part
from geofm.contract import PixelContract
from geofm.errors import ConfigError, LabelError
from geofm.model.at_pixels import tokens_at
from geofm.model.encoder import Encoder
from geofm.model.folder import PretrainedEncoder
from geofm.model.logistic import Linear, fit_logistic, token_trusts
from geofm.model.metrics import (
    MIN_BLOCKS,
    ROUNDS,
    Interval,
    confusion_matrix,
    interval_of,
    mean_iou,
    resampled,
)
from geofm.scenes.catalog import Pair
from geofm.scenes.match import match_scene
from geofm.scenes.window import Window
from geofm.tasks import IGNORE
from geofm.tiles.roles import split_pairs
from geofm.tiles.transforms import normalise
from geofm.tiles.windows import plan_windows

Inputs = Literal["tokens and bands", "tokens", "bands"]
MOST_PIXELS = 10_000
"""That a probe is taught on: neighbours repeat each other, and a laptop is to be quick."""


class Labelled(NamedTuple):
    """Scenes with labels, cut into images that an encoder takes.

    Attributes:
        x: (M, T, C, S, S) float32, normalised; 0 where not valid.
        target: (M, S, S) uint8; `IGNORE` where unlabelled, not valid, or of another image.
        pair: (M,) the pair that each image is of.
        unit: (M,) what errs together.
        groups: of each pair.
    """

    x: Tensor
    target: Tensor
    pair: npt.NDArray[np.int64]
    unit: npt.NDArray[np.str_]
    groups: tuple[str, ...]


def read_labelled(
    pairs: Sequence[Pair],
    contract: PixelContract,
    *,
    size: int,
    windows: Sequence[Sequence[Window]] | None = None,
    accept: dict[str, str] | None = None,
) -> Labelled:
    """Read labelled scenes as a model of ``contract`` sees them.

    Args:
        pairs: each with at least the contract's bands; of any number of dates, all the same.
        size: side of an image, pixels; smaller scenes are padded.
        windows: for each pair, what may be read; None for all of it.
        accept: as `match_scene`.

    Raises:
        BandError, UnitsError, SceneError, GridError: a scene does not fit.
        LabelError: nothing is labelled.
    """
    images, targets, owners, units = [], [], [], []
    whole = [(Window(0, 0, *pair.scene.shape),) for pair in pairs]
    places = whole if windows is None else windows
    groups = tuple(pair.group or f"{pair.name} ({at})" for at, pair in enumerate(pairs))
    # With few groups the windows that were given are what is drawn anew, as in a score of a map.
    by_window = len(set(groups)) < MIN_BLOCKS
    for at, (pair, given) in enumerate(zip(pairs, places, strict=True)):
        dates = replace(contract, dates=len(pair.scene.dates))
        scene = match_scene(dates, pair.scene, accept=accept).scene
        for number, place in enumerate(given):
            scored = np.zeros((place.height, place.width), np.bool_)
            for cut in plan_windows(place.height, place.width, size=size):
                inside = cut.clip(place.height, place.width)
                there = inside._replace(row=inside.row + place.row, col=inside.col + place.col)
                stored, target = scene.read_stored(there), pair.labels.read(there).copy()
                valid = stored.valid.sum(axis=0) >= contract.min_valid_dates
                target[~valid | scored[inside.slices]] = IGNORE  # the last window moved back
                scored[inside.slices] = True
                x = normalise(
                    torch.from_numpy(stored.dn.astype(np.float32)),
                    torch.from_numpy(stored.valid),
                    scale=torch.from_numpy(scene.scale),
                    offset=torch.from_numpy(scene.offset),
                    mean=torch.tensor(contract.mean, dtype=torch.float32),
                    std=torch.tensor(contract.std, dtype=torch.float32),
                )
                rest = (0, size - inside.width, 0, size - inside.height)
                images.append(F.pad(x, rest))
                targets.append(F.pad(torch.from_numpy(target), rest, value=IGNORE))
                owners.append(at)
                units.append(f"{groups[at]}: {number}" if by_window else groups[at])
    found = Labelled(
        torch.stack(images), torch.stack(targets), np.array(owners), np.array(units), groups
    )
    if not (found.target != IGNORE).any():
        raise LabelError("no valid pixel of these scenes is labelled; give scenes with labels")
    return found


def token_maps(
    encoder: Encoder, x: Tensor, *, depths: Sequence[int] = (), batch_size: int = 8
) -> Tensor:
    """What a frozen encoder sees: (M, D', h, w), the maps of ``depths`` one after the other.

    Args:
        x: (M, T, C, S, S), normalised.
        depths: blocks, from 0, ascending; empty for the middle one and the last: a masked
            autoencoder's last blocks serve its decoder.
    """
    return torch.cat(list(_token_batches(encoder, x, depths=depths, batch_size=batch_size)))


@torch.no_grad()
def _token_batches(
    encoder: Encoder, x: Tensor, *, depths: Sequence[int], batch_size: int = 8
) -> Iterator[Tensor]:
    """As `token_maps`, of a few images at a time."""
    chosen = depths or sorted({(encoder.config.depth - 1) // 2, encoder.config.depth - 1})
    device = next(encoder.parameters()).device
    encoder.eval()
    for part in torch.split(x, batch_size):
        yield torch.cat(encoder.feature_maps(part.to(device), chosen), dim=1).float().cpu()


def random_weights(encoder: Encoder, *, seed: int) -> Encoder:
    """The same encoder, as it was before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(encoder.config).eval()


@dataclass(frozen=True, slots=True, eq=False)
class ProbeScore:
    """What one probe reached.

    Attributes:
        count: labelled pairs it was taught on.
        seed: that drew them.
        strength: of its penalty, as chosen on them.
        confusion: (units, K, K) pixels of the scored scenes; rows are labels.
    """

    count: int
    seed: int
    strength: float
    confusion: npt.NDArray[np.int64]

    @property
    def mean_iou(self) -> float:
        return float(mean_iou(self.confusion.sum(axis=0)))


def probe(
    train: Labelled,
    train_maps: Tensor | None,
    test: Labelled,
    test_maps: Tensor | None,
    *,
    classes: int,
    inputs: Inputs = "tokens and bands",
    count: int | None = None,
    seed: int = 0,
) -> ProbeScore:
    """Teach one probe on a few labelled pairs and score it on all of ``test``.

    Args:
        train_maps, test_maps: as `token_maps` gives; None for ``inputs="bands"``.
        classes: K.
        count: labelled pairs to draw; None for all. Where all drawn are of one class,
            the last gives way to one that shows another, as a person would see to it.
        seed: of the draw, of pairs and of pixels.

    Raises:
        LabelError: ``train`` has fewer labelled pairs, or only one class.
    """
    if inputs == "bands":
        train_maps = test_maps = None
    taught = _teach(train, train_maps, classes=classes, inputs=inputs, count=count, seed=seed)
    return _score([taught], test, test_maps, classes=classes)[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Taught:
    """A probe before it is scored; the fields are those of `ProbeScore`."""

    linear: Linear
    inputs: Inputs
    count: int
    seed: int
    strength: float


def _teach(
    train: Labelled,
    maps: Tensor | None,
    *,
    classes: int,
    inputs: Inputs,
    count: int | None,
    seed: int,
) -> _Taught:
    """Teach a probe; arguments as `probe`."""
    chosen = draw_pairs(train, count=count, seed=seed, classes=classes)
    image, row, col = _draw_pixels(train, chosen, seed=seed)
    features = _at_pixels(train.x, maps, image, row, col, bands=inputs != "tokens")
    linear, strength = fit_logistic(
        features,
        train.target[image, row, col],
        _halves(train, image, row, col),
        classes=classes,
        trusts=_trusts(features, maps),
    )
    return _Taught(linear, inputs, len(chosen), seed, strength)


def _score(
    probes: Sequence[_Taught], test: Labelled, maps: Iterable[Tensor] | None, *, classes: int
) -> list[ProbeScore]:
    """Score probes together, so that ``maps`` (D', h, w), one an image, are gone through once."""
    names, unit = np.unique(test.unit, return_inverse=True)
    confusion = np.zeros((len(probes), len(names), classes, classes), np.int64)
    given = repeat(None, len(test.x)) if maps is None else maps
    for at, x, target, tokens in zip(unit, test.x, test.target, given, strict=True):
        for number, each in enumerate(probes):
            found = _read(each, x, tokens)
            confusion[number, at] += confusion_matrix(found, target.numpy(), classes=classes)
    return [
        ProbeScore(each.count, each.seed, each.strength, counts)
        for each, counts in zip(probes, confusion, strict=True)
    ]


def _read(taught: _Taught, x: Tensor, tokens: Tensor | None) -> npt.NDArray[np.uint8]:
    """Class codes (S, S) of one image (T, C, S, S)."""
    linear, depth = taught.linear, 0 if tokens is None else len(tokens)
    logits = linear.bias[:, None, None].expand(-1, *x.shape[-2:])
    if tokens is not None:
        # Linear steps commute: logits of tokens are resized, not their many features.
        coarse = torch.einsum("dhw,dk->khw", tokens, linear.weight[:depth])
        logits = logits + F.interpolate(coarse[None], logits.shape[1:], mode="bilinear")[0]
    if taught.inputs != "tokens":
        own = x.flatten(0, 1)
        logits = logits + torch.einsum("chw,ck->khw", own, linear.weight[depth:])
    return logits.argmax(dim=0).numpy().astype(np.uint8)


def draw_pairs(labelled: Labelled, *, count: int | None, seed: int, classes: int) -> list[int]:
    """The pairs whose labels a probe may see, by seed."""
    shown: dict[int, set[int]] = {}
    for at, target in zip(labelled.pair, labelled.target, strict=True):
        shown.setdefault(int(at), set()).update(target[target < classes].unique().tolist())
    usable = [at for at in sorted(shown) if shown[at]]
    if len(set().union(*shown.values())) < 2:
        raise LabelError("the labels to learn from show fewer than two classes; give others too")
    if count is None:
        return usable
    if not 1 <= count <= len(usable):
        raise LabelError(
            f"{count} labelled scenes were asked for and {len(usable)} have labels; "
            "ask for as many or fewer"
        )
    order = [usable[i] for i in np.random.default_rng([seed, 7]).permutation(len(usable))]
    chosen, rest = order[:count], order[count:]
    seen = set().union(*(shown[at] for at in chosen))
    if len(seen) < 2:
        chosen[-1] = next(at for at in rest if shown[at] - seen)
    return chosen


def _draw_pixels(
    labelled: Labelled, chosen: Sequence[int], *, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Labelled pixels of the chosen pairs: image, row and column (n,), evenly from each image."""
    images = np.flatnonzero(np.isin(labelled.pair, chosen))
    random = np.random.default_rng([seed, 8])
    places = []
    for image in images:
        labels = np.argwhere(labelled.target[image].numpy() != IGNORE)
        most = max(MOST_PIXELS // len(images), 1)
        if len(labels) > most:
            labels = labels[random.choice(len(labels), most, replace=False)]
        places.append(np.column_stack([np.full(len(labels), image), labels]))
    found = torch.from_numpy(np.concatenate(places))
    return found[:, 0], found[:, 1], found[:, 2]


def _at_pixels(
    x: Tensor, maps: Tensor | None, image: Tensor, row: Tensor, col: Tensor, *, bands: bool
) -> Tensor:
    """Features (n, D) of pixels: of the tokens around them, then their own bands."""
    parts = []
    if maps is not None:
        tokens = torch.empty(len(image), maps.shape[1])
        for at in torch.unique(image):
            here = image == at
            tokens[here] = tokens_at(
                maps[at], row[here], col[here], shape=(x.shape[-2], x.shape[-1])
            )
        parts.append(tokens)
    if bands:
        parts.append(x[image, ..., row, col].flatten(1))
    return torch.cat(parts, dim=1)


def _trusts(features: Tensor, maps: Tensor | None) -> list[Tensor]:
    """How much tokens may weigh beside bands, where both are read."""
    if maps is None or features.shape[1] == maps.shape[1]:
        return []
    tokens = maps.shape[1]
    return token_trusts(tokens, features.shape[1] - tokens)


def _halves(labelled: Labelled, image: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """Two halves (n,) for choosing the penalty: by group, else by pair, else by quarter."""
    pair = labelled.pair[image.numpy()]
    group = np.array(labelled.groups)[pair]
    for owner in (group, pair):
        names, at = np.unique(owner, return_inverse=True)
        if len(names) > 1:
            return torch.from_numpy(at % 2 == 0)
    return (row >= row.median()) ^ (col >= col.median())


Reader = Literal["encoder", "random weights", "raw bands"]


@dataclass(frozen=True, slots=True)
class ProbePoint:
    """What one reader reached with so many labels.

    Attributes:
        count: labelled pairs.
        mean_iou: the mean over the seeds.
        by_seed: of each.
        interval: 95 %; None with too few units to draw from.
        gain: by how much the encoder is above this reader; 0 for itself.
        gain_interval: 95 % of it: the same few labels, the same draws of scored units.
    """

    reader: Reader
    count: int
    mean_iou: float
    by_seed: tuple[float, ...]
    interval: Interval | None
    gain: float
    gain_interval: Interval | None


@dataclass(frozen=True, slots=True)
class ProbeCurve:
    """Linear probes by number of labels; prints as a table.

    Attributes:
        inputs: what the encoder's probe reads at a pixel.
        units: what the intervals draw anew: groups of the scored pairs, or their windows.
        note: what the intervals rest on, or why there are none; of `probe_by_area`, also how
            much of what is scored the encoder has met in pretraining.
    """

    points: tuple[ProbePoint, ...]
    inputs: Inputs
    units: int
    note: str

    def __str__(self) -> str:
        lines = [f"{'labels':>6}  {'probe of':<15}{'mean IoU':<26}the encoder is above it by"]
        for point in self.points:
            above = "" if point.reader == "encoder" else _text(point.gain, point.gain_interval)
            found = _text(point.mean_iou, point.interval)
            lines.append(f"{point.count:>6}  {point.reader:<15}{found:<26}{above}".rstrip())
        return "\n".join([*lines, f"probes read {self.inputs}; {self.note}"])

    def facts(self) -> dict[str, Any]:
        """For a model's provenance: plain values, rounded to what they can tell."""
        return {
            "inputs": self.inputs,
            "note": self.note,
            "points": [
                {
                    "labels": point.count,
                    "probe of": point.reader,
                    "mean IoU": round(point.mean_iou, 4),
                    "interval": _rounded(point.interval),
                    "gain": round(point.gain, 4),
                    "gain interval": _rounded(point.gain_interval),
                }
                for point in self.points
            ],
        }


def probe_curve(
    encoder: PretrainedEncoder,
    train: Sequence[Pair],
    test: Sequence[Pair],
    *,
    classes: int,
    train_windows: Sequence[Sequence[Window]] | None = None,
    test_windows: Sequence[Sequence[Window]] | None = None,
    counts: Sequence[int | None] = (1, 5, 10, None),
    seeds: int = 5,
    inputs: Inputs = "tokens and bands",
    depths: Sequence[int] = (),
    accept: dict[str, str] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> ProbeCurve:
    """Probe an encoder, the same with random weights, and the raw bands, by number of labels.

    Each seed draws other labelled pairs, other pixels and other random weights, the same
    for all three readers. The probes see ``train`` alone; ``test`` chooses nothing.

    Args:
        train, test: labelled scenes on ground that lies apart.
        classes: K.
        train_windows, test_windows: for each pair, what may be read; None for all.
        counts: labelled pairs; None for all of them. Those beyond all are left out.
        seeds: repeated draws, 1 or more.
        inputs, depths: as `probe` and `token_maps`.
        accept: as `match_scene`.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        LabelError: there are no labels, or of one class.
        BandError, UnitsError, SceneError, GridError: a scene does not fit the encoder.
        ConfigError: no seed.
    """
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds; needed 1 or more")
    size, contract = encoder.encoder.config.image_size, encoder.contract
    taught = read_labelled(train, contract, size=size, windows=train_windows, accept=accept)
    scored = read_labelled(test, contract, size=size, windows=test_windows, accept=accept)
    total = len(draw_pairs(taught, count=None, seed=0, classes=classes))
    steps = [count for count in counts if count is not None and count < total]
    steps += [total] if None in counts or total in counts else []
    found: dict[tuple[Reader, int], list[ProbeScore]] = {}
    done = 0
    for reader, net, read, drawn in _turns(encoder.encoder, inputs, seeds):
        maps = None if read == "bands" else token_maps(net, taught.x, depths=depths)
        probes = []
        for seed in drawn:
            if progress:
                progress(done / (seeds * len(READERS)), f"linear probe of {reader}")
            done += 1
            probes += [
                _teach(taught, maps, classes=classes, inputs=read, count=count, seed=seed)
                for count in steps
            ]
        del maps  # what is scored has its own, and of a few images at a time
        batches = None if read == "bands" else _token_batches(net, scored.x, depths=depths)
        tokens = None if batches is None else chain.from_iterable(batches)
        for score in _score(probes, scored, tokens, classes=classes):
            found.setdefault((reader, score.count), []).append(score)
    return _curve(found, steps, inputs=inputs)


def _turns(
    encoder: Encoder, inputs: Inputs, seeds: int
) -> Iterator[tuple[Reader, Encoder, Inputs, Sequence[int]]]:
    """Readers, and the seeds that share the maps of an encoder, which are then made once."""
    yield "encoder", encoder, inputs, range(seeds)
    for seed in range(seeds):
        yield "random weights", random_weights(encoder, seed=seed), inputs, [seed]
    yield "raw bands", encoder, "bands", range(seeds)


def probe_by_area(
    encoder: PretrainedEncoder,
    pairs: Sequence[Pair],
    *,
    test: float = 0.5,
    counts: Sequence[int | None] = (1, 5, 10, None),
    seeds: int = 5,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[PretrainedEncoder, ProbeCurve]:
    """Split labelled scenes by area, probe, and keep the scores in the encoder's card.

    The note of the scores tells how many of the scored scenes lie, at least in part, in what
    the encoder was pretrained on.

    Args:
        pairs: labelled with class codes from 0.
        test: share of the area that is scored.
        counts, seeds, progress: as `probe_curve`.

    Returns:
        The encoder with the scores in its provenance, and the scores.

    Raises:
        SplitError: the labels are too few to be split.
        GeofmError: as `probe_curve`.
    """
    roles = split_pairs(pairs, val=0.0, test=test)
    codes = {int(code) for pair in pairs for code in np.unique(pair.labels.read())} - {IGNORE}
    found = probe_curve(
        encoder,
        [pairs[at] for at, _ in roles.train],
        [pairs[at] for at, _ in roles.test],
        classes=max(codes, default=0) + 1,
        train_windows=[windows for _, windows in roles.train],
        test_windows=[windows for _, windows in roles.test],
        counts=counts,
        seeds=seeds,
        accept={"resolution": "any"},
        progress=progress,
    )
    seen = sum(_was_seen(encoder, pairs[at], windows) for at, windows in roles.test)
    if seen:
        told = f"{seen} of {len(roles.test)} scored scenes seen in pretraining, at least in part"
        found = replace(found, note=f"{found.note}; {told} (pixels, not labels)")
    scores = {
        **encoder.provenance.get("scores", {}),
        "linear probe": {**found.facts(), "split": roles.how},
    }
    return replace(encoder, provenance={**encoder.provenance, "scores": scores}), found


def _was_seen(encoder: PretrainedEncoder, pair: Pair, windows: tuple[Window, ...]) -> bool:
    """Whether some of it is in the pretraining of the encoder, or of those that it began with."""
    scored, record = [Part(0, 0, windows, pair.name)], encoder.provenance
    while record:
        as_of_model = {"encoder": record}
        met = check_exposure(as_of_model, [pair], scored, model=encoder.name, allow=True)
        if met.pretrained:
            return True
        record = record.get("encoder") or {}
    return False


READERS: tuple[Reader, ...] = ("encoder", "random weights", "raw bands")


def _curve(
    found: dict[tuple[Reader, int], list[ProbeScore]], counts: Sequence[int], *, inputs: Inputs
) -> ProbeCurve:
    """Means, intervals and gains."""
    first = found[READERS[0], counts[0]]
    labelled = sum(score.confusion.sum(axis=(1, 2)) for score in first[:1]) > 0
    units, seeds = int(np.count_nonzero(labelled)), len(first)
    enough = units >= MIN_BLOCKS
    # Other labels would have been drawn too: seeds are drawn anew with the units.
    share = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), ROUNDS) / seeds

    def draws(key: tuple[Reader, int]) -> npt.NDArray[np.float64]:
        by_seed = [
            np.concatenate([mean_iou(drawn) for drawn in resampled(score.confusion[labelled])])
            for score in found[key]
        ]
        mixed: npt.NDArray[np.float64] = (share * np.stack(by_seed, axis=1)).sum(axis=1)
        return mixed

    def interval(values: npt.NDArray[np.float64]) -> Interval | None:
        return interval_of(values, blocks=units) if enough else None

    points = []
    for count in counts:
        ours = draws(("encoder", count))
        best = np.mean([score.mean_iou for score in found["encoder", count]])
        for reader in READERS:
            theirs = draws((reader, count))
            by_seed = tuple(score.mean_iou for score in found[reader, count])
            mean, itself = float(np.mean(by_seed)), reader == "encoder"
            points.append(
                ProbePoint(
                    reader=reader,
                    count=count,
                    mean_iou=mean,
                    by_seed=by_seed,
                    interval=interval(theirs),
                    gain=0.0 if itself else float(best) - mean,
                    gain_interval=None if itself else interval(ours - theirs),
                )
            )
    note = (
        f"95 % intervals by drawing {units} scored places and {seeds} draws of the labels anew"
        if enough
        else f"no interval: {units} scored place{'' if units == 1 else 's'}, and fewer than "
        f"{MIN_BLOCKS} say too little about the spread"
    )
    return ProbeCurve(tuple(points), inputs, units, note)


def _text(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _rounded(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(end, 4) for end in interval]
