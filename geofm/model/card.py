"""The model card: what a person should know before trusting the model, from its description."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geofm.bands import LEVEL_NAMES
from geofm.model.licences import model_terms
from geofm.model.schema import ContractFields, Description, Provenance, SegmenterFile
from geofm.model.score_tables import plain, score_tables
from geofm.page import counted

MAP_FILE = "footprint.svg"
"""A small map of the training footprint, beside the card."""

# Licences that the Hugging Face Hub knows by these names.
_HUB_LICENCES = {
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "odbl",
}


def model_card(description: Description) -> str:
    """README.md of a model folder: Hugging Face front matter, then Markdown."""
    return "\n".join([*_front_matter(description), *_body(description), ""])


def _front_matter(description: Description) -> Iterator[str]:
    segmenter = isinstance(description, SegmenterFile)
    yield "---"
    yield "library_name: geofm"
    yield f"license: {_hub_licence(description.provenance)}"
    yield f"pipeline_tag: {'image-segmentation' if segmenter else 'image-feature-extraction'}"
    yield "tags:"
    for tag in ("geofm", "earth-observation", "remote-sensing", "multispectral"):
        yield f"- {tag}"
    yield "---"


def _hub_licence(provenance: Provenance) -> str:
    if not provenance.licences:
        return "unknown"
    known = provenance.licences[0].lower()
    return known if len(provenance.licences) == 1 and known in _HUB_LICENCES else "other"


def _body(description: Description) -> Iterator[str]:
    yield f"# {plain(description.name)}"
    yield ""
    yield from _warnings(description.provenance)
    yield from _purpose(description)
    yield from _contract(description.contract)
    yield from _training(description)
    yield from _limits(description)


def _purpose(description: Description) -> Iterator[str]:
    if isinstance(description, SegmenterFile):
        yield f"Maps **{plain(description.task)}** from multispectral satellite scenes."
        yield ""
        yield "| code | class | colour |"
        yield "|---|---|---|"
        for code, kind in enumerate(description.classes):
            yield f"| {code} | {plain(kind.name)} | `{kind.color}` |"
        yield ""
        yield "```"
        yield "geofm map MODEL SCENE.tif -o MAP.tif"
        yield "```"
    else:
        yield "An encoder of multispectral satellite scenes, pretrained without labels."
        yield "It makes no map by itself; fine-tune a head on it:"
        yield ""
        yield "```"
        yield "geofm finetune --task flood --encoder MODEL --images DIR --labels DIR -o OUT.geofm"
        yield "```"
    yield ""


def _contract(contract: ContractFields) -> Iterator[str]:
    dates = "one date" if contract.dates == 1 else f"{contract.dates} dates"
    yield "## What it needs"
    yield ""
    yield (
        f"{LEVEL_NAMES[contract.level].capitalize()} (0 to 1), {dates}, pixels of about "
        f"{round(contract.resolution, 1):g} m, in these bands (STAC common names). A scene "
        "without them is refused."
    )
    yield ""
    yield "| band | mean | standard deviation |"
    yield "|---|---|---|"
    for band, mean, std in zip(contract.bands, contract.mean, contract.std, strict=True):
        yield f"| {plain(band)} | {mean:.4f} | {std:.4f} |"
    yield ""
    masked = ", ".join(map(plain, contract.masked_qa)) or "nothing"
    yield (
        f"A pixel is mapped when at least {contract.min_valid_dates} of {contract.dates} dates "
        f"is valid there; set aside by QA: {masked}."
    )
    yield ""


def _training(description: Description) -> Iterator[str]:
    encoder, provenance = description.architecture.encoder, description.provenance
    yield "## How it was made"
    yield ""
    yield (
        f"- Vision transformer: {encoder.depth} blocks, {encoder.embed_dim} wide, patches of "
        f"{encoder.patch_size} px; {description.weights.parameters:,} parameters."
    )
    if isinstance(description, SegmenterFile):
        head = description.architecture.head
        yield f"- Head: {head.kind}, on blocks {', '.join(map(str, head.depths))} (from 0)."
    if provenance.encoder is not None:
        name = provenance.encoder.get("name", "a pretrained encoder without a name")
        yield f"- Began with: {plain(str(name))}."
    yield from _course(provenance)
    for change in provenance.adapted:
        yield f"- Other than its encoder's pixels: {plain(change)}."
    yield f"- Sources: {_some(provenance.sources)}."
    yield f"- Licences: {', '.join(map(plain, provenance.licences)) or 'not recorded'}."
    yield from _encoder_licences(provenance)
    yield f"- Written by geofm {plain(description.geofm_version)}."
    yield ""
    yield "## Where it was trained"
    yield ""
    if provenance.training_footprint:
        yield f"![Places on a map of the world]({MAP_FILE})"
        yield ""
        yield "The outlines themselves are in model.json (`provenance.training_footprint`)."
    else:
        yield "Not recorded: its scenes say nothing of where they lie."
    yield ""


def _course(provenance: Provenance) -> Iterator[str]:
    """What a pretraining read and came to, as far as the folder says it."""
    match provenance.model_extra:
        case {
            "method": str() as method,
            "scenes": {
                "used": int() as used,
                "left_out": int() as left_out,
                "valid_share": float() as valid,
            },
            "config": {"steps": int() as steps},
            "loss": float() as loss,
        }:
            kept = f"{counted(used, 'scene')}, {valid:.0%} of the pixels valid"
            yield f"- {plain(method).capitalize()} of {kept}: {steps:,} steps, loss {loss:.4f}."
            if left_out:
                why = "could not be used; model.json says why (`provenance.scenes`)"
                yield f"- Left out: {counted(left_out, 'scene')}, which {why}."


_MOST_SOURCES = 12


def _some(sources: Sequence[str]) -> str:
    """The first sources by name, and how many more there are."""
    named = ", ".join(map(plain, sources[:_MOST_SOURCES])) or "not recorded"
    more = len(sources) - _MOST_SOURCES
    return f"{named} and {more:,} more, in model.json" if more > 0 else named


def _encoder_licences(provenance: Provenance) -> Iterator[str]:
    for began_with in _chain(provenance):
        name = plain(str(began_with.get("name", "a pretrained encoder")))
        licences = ", ".join(plain(str(one)) for one in _texts(began_with.get("licences")))
        yield f"- Licences of {name}: {licences or 'not recorded'}."


def _chain(provenance: Provenance) -> Iterator[Mapping[str, Any]]:
    """What the model began with, what that began with, and so on."""
    began_with: object = provenance.encoder
    while isinstance(began_with, dict):
        yield began_with
        began_with = began_with.get("encoder")


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _warnings(provenance: Provenance) -> Iterator[str]:
    """What the licences of data and encoder forbid or ask, before anything else."""
    for headline, sentence in model_terms(provenance.model_dump()):
        yield f"> **{headline}.** {plain(sentence)}"
        yield ""


def _limits(description: Description) -> Iterator[str]:
    yield "## How good it is"
    yield ""
    if description.provenance.scores:
        yield "Measured by geofm; the numbers hold for data like the test data, not everywhere."
        yield ""
        yield from score_tables(description.provenance.scores)
    elif isinstance(description, SegmenterFile):
        yield "No score is recorded. Evaluate it on your own labels before you rely on its maps."
        yield ""
    else:
        yield "An encoder has no score of its own; the models fine-tuned from it have."
        yield ""
    yield "## Limits"
    yield ""
    yield from (f"- {limit}" for limit in _bounds(description))


def _bounds(description: Description) -> Iterator[str]:
    """What the model was not made for, as far as its own facts tell."""
    contract, provenance = description.contract, description.provenance
    place = (
        "the places on the map above"
        if provenance.training_footprint
        else "its scenes, of unknown place"
    )
    yield (
        f"It learnt from {place}. Elsewhere, in other seasons and from other sensors it can be "
        "wrong without a sign of it."
    )
    coarse = f"{round(contract.resolution, 1):g} m"
    yield f"What is narrower than a pixel or two of {coarse} is lost or smeared."
    if contract.masked_qa:
        told = ", ".join(map(plain, contract.masked_qa))
        yield f"It sets {told} aside where a quality layer tells them, and maps them elsewhere."
    else:
        yield "It sets no quality class aside: clouds and their shadows are mapped as something."
    if not isinstance(description, SegmenterFile):
        return
    names = ", ".join(plain(kind.name) for kind in description.classes)
    yield f"Whatever it sees becomes one of {names}; it knows nothing else."
    if description.calibration is None:
        yield "Its confidence is not calibrated: 90 % need not mean right nine times in ten."
    else:
        yield "Its confidence holds for data like those that it was calibrated on."
    if not provenance.scores:
        yield "Nobody has measured here how good it is."
    yield "Hectares counted from its maps carry its errors; `geofm area` estimates them better."
