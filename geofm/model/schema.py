"""model.json, version 1: the one truth about a model folder.

A public format: old folders must open for ever, so its fields are spelt out
here and do not follow when a class of ours gains or loses a field. What a file
may hold is checked on writing and on reading by the same code.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from geofm.contract import PixelContract
from geofm.errors import GeofmError, ModelError
from geofm.model.calibration import Calibration
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig
from geofm.tasks import MapClass, check_classes

SCHEMA_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"

# One printable line: names end up in tables, tags and front matter.
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Ring = Annotated[tuple[tuple[Longitude, Latitude], ...], Field(min_length=4)]
Rings = Annotated[tuple[Ring, ...], Field(min_length=1)]


class Strict(BaseModel):
    """No unknown field, no guessing of types, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class EncoderFields(Strict):
    """`EncoderConfig`, spelt out; what has a default came after the first folders."""

    bands: int
    dates: int
    image_size: int
    patch_size: int
    tubelet: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    norm_eps: float
    coordinates: tuple[Literal["time", "location"], ...] = ()
    position_size: int | None = None
    learned_positions: bool = False
    legacy_order: bool = False


class HeadFields(Strict):
    """`HeadConfig`, spelt out; what has a default came after the first folders."""

    kind: Literal["linear", "fcn", "unet", "upernet", "deconv"]
    classes: int
    depths: tuple[int, ...]
    channels: int
    upsample_last: bool = True
    skip: bool = False


class ContractFields(Strict):
    """`PixelContract`, spelt out; a model always knows its level."""

    bands: tuple[Line, ...]
    level: Literal["toa", "surface"]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    resolution: Positive
    dates: Count
    min_valid_dates: Count
    masked_qa: tuple[Line, ...]


class ClassFields(Strict):
    """`MapClass`, spelt out."""

    name: Line
    color: Color


class CalibrationFields(Strict):
    """`Calibration`, spelt out."""

    temperature: Positive
    unsure_below: Annotated[float, Field(ge=0, le=1)] | None = None


class WeightsFields(Strict):
    """The weights file: what must be in it, to the byte."""

    file: Literal["weights.safetensors"]
    sha256: Sha256
    tensors: Count
    parameters: Count


class Polygon(Strict):
    """A GeoJSON polygon, longitude before latitude."""

    type: Literal["Polygon"]
    coordinates: Rings


class MultiPolygon(Strict):
    """GeoJSON polygons, longitude before latitude."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[tuple[Rings, ...], Field(min_length=1)]


Footprint = Annotated[Polygon | MultiPolygon, Field(discriminator="type")]


class Provenance(BaseModel):
    """Where a model comes from. Facts beyond these may stand beside them.

    Attributes:
        training_footprint: where it has seen labels (an encoder: pixels).
        validation_footprint: where labels have chosen its weights.
        adapted: how the pixels that it reads differ from its encoder's.
        licences: of weights, pixels and labels.
        sources: of pixels and labels.
        encoder: name, hash and provenance of the encoder it began with.
        scores: as measured by the tool.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]

    training_footprint: Footprint | None = None
    validation_footprint: Footprint | None = None
    adapted: tuple[Line, ...] = ()
    licences: tuple[Line, ...] = ()
    sources: tuple[Line, ...] = ()
    encoder: dict[str, JsonValue] | None = None
    scores: dict[str, JsonValue] = Field(default_factory=dict)


class EncoderArchitecture(Strict):
    """The shape of an encoder alone."""

    encoder: EncoderFields


class SegmenterArchitecture(Strict):
    """The shapes of encoder and head."""

    encoder: EncoderFields
    head: HeadFields


class _Description(Strict):
    """What every model folder says."""

    schema_version: Literal[1]  # SCHEMA_VERSION
    kind: Literal["encoder", "segmenter"]
    name: Line
    geofm_version: Line
    contract: ContractFields
    weights: WeightsFields
    provenance: Provenance


class EncoderFile(_Description):
    """A pretrained encoder."""

    kind: Literal["encoder"]
    architecture: EncoderArchitecture


class SegmenterFile(_Description):
    """A trained model: encoder and head, with what it maps.

    What has a default came after the first folders.
    """

    kind: Literal["segmenter"]
    task: Line
    classes: tuple[ClassFields, ...]
    architecture: SegmenterArchitecture
    calibration: CalibrationFields | None = None

    def map_classes(self) -> tuple[MapClass, ...]:
        """The classes, in the order of their codes."""
        return tuple(MapClass(c.name, c.color) for c in self.classes)

    def head_config(self) -> HeadConfig:
        """The head's shape."""
        return HeadConfig(**self.architecture.head.model_dump())

    def map_calibration(self) -> Calibration | None:
        """How logits become probabilities; None for plain softmax and no pixel unsure."""
        return None if self.calibration is None else Calibration(**self.calibration.model_dump())


Description = EncoderFile | SegmenterFile


def pixel_contract(description: Description) -> PixelContract:
    """The pixel contract of a description."""
    return PixelContract(**description.contract.model_dump())


def encoder_config(description: Description) -> EncoderConfig:
    """The encoder's shape."""
    return EncoderConfig(**description.architecture.encoder.model_dump())


def describe(fields: Mapping[str, Any]) -> Description:
    """A description from plain values, checked as if it were read back.

    Raises:
        ModelError: a value cannot stand in the file, or the parts do not agree.
    """
    try:
        text = json.dumps(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"the model cannot be described in JSON: {error}; keep its provenance to numbers, "
            "text, lists and dictionaries"
        ) from error
    try:
        return _validated(text, fields["kind"])
    except ValidationError as error:
        raise ModelError(f"the model cannot be saved: {plain_sentence(error)}") from error


def description_text(description: Description) -> str:
    """A description as the text of model.json."""
    content = description.model_dump(mode="json")
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parse_description(text: bytes, *, where: str) -> Description:
    """The text of model.json as typed values that agree with each other.

    Args:
        where: what to call the file in errors.

    Raises:
        ModelError: it is damaged, of another version, or contradicts itself.
    """
    version, kind = _version_and_kind(text, where)
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"{where} has schema version {_short(version)}; this geofm reads {SCHEMA_VERSION}; "
            "install a newer geofm (pip install --upgrade geofm)"
        )
    try:
        return _validated(text, kind)
    except ValidationError as error:
        raise ModelError(
            f"{where}: {plain_sentence(error)}; the file was changed or damaged; "
            "fetch the model again"
        ) from error
    except GeofmError as error:
        raise ModelError(f"{where}: {error}") from error


def _validated(text: str | bytes, kind: object) -> Description:
    """Text to a description of this kind.

    Raises:
        ValidationError: a field is not as it must be.
        GeofmError: fields contradict each other.
    """
    description: Description
    match kind:
        case "segmenter":
            description = SegmenterFile.model_validate_json(text)
        case "encoder":
            description = EncoderFile.model_validate_json(text)
        case _:
            raise ModelError(
                f"it describes a {_short(kind)}; this geofm knows segmenter and encoder; "
                "install a newer geofm (pip install --upgrade geofm)"
            )
    check_agreement(description)
    return description


def check_agreement(description: Description) -> None:
    """Contract, architecture and classes speak of the same model, in finite numbers.

    Raises:
        GeofmError: they do not.
    """
    try:
        description_text(description)
    except ValueError as error:  # free facts may hold what pydantic lets pass
        raise ModelError("the provenance holds NaN or infinity; JSON has neither") from error
    contract, encoder = pixel_contract(description), encoder_config(description)
    for what, ours, theirs in (
        ("bands", len(contract.bands), encoder.bands),
        ("dates", contract.dates, encoder.dates),
    ):
        if ours != theirs:
            raise ModelError(f"the pixel contract has {ours} {what}, the encoder {theirs}")
    if isinstance(description, SegmenterFile):
        classes, head = check_classes(description.map_classes()), description.head_config()
        if len(classes) != head.classes:
            raise ModelError(f"there are {len(classes)} classes, the head has {head.classes}")


def plain_sentence(error: ValidationError) -> str:
    """What pydantic found, as one line that names the first field at fault."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    match first["type"]:
        case "missing":
            return f"{field} is missing{more}"
        case "extra_forbidden":
            return f"{field} is an unknown field{more}"
        case "json_invalid":
            return f"it is not JSON: {first['msg']}"
        case _:
            needed = first["msg"][:1].lower() + first["msg"][1:]
            return f"{field} is {_short(first['input'])}; {needed}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _version_and_kind(text: bytes, where: str) -> tuple[object, object]:
    """Read before all else: a newer version may differ in every other field."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is not JSON ({error}); fetch the model again") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ModelError(f"{where} has no schema_version; it is not of geofm's model folders")
    return content["schema_version"], content.get("kind")
