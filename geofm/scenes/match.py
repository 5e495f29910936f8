"""Does a scene hold what a model's pixel contract asks for?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geofm.bands import LEVEL_NAMES, SENSORS
from geofm.contract import PixelContract
from geofm.errors import BandError, GridError, SceneError, UnitsError
from geofm.scenes.ground import crs_name
from geofm.scenes.reader import Scene

MAX_RESOLUTION_RATIO = 1.5
"""Ground pixels that differ by more are another picture to a model."""

# Bands whose centres differ by less than this share look alike.
_SIMILAR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class SceneMatch:
    """A scene as a model reads it.

    Attributes:
        scene: the contract's bands, in its order.
        substitutions: what was accepted in place of what the contract asks
            for, such as ``nir08=nir``, for the receipt.
        unmasked_qa: quality classes that the model sets aside and this scene does
            not: nothing in it tells them, or the user chose so.
    """

    scene: Scene
    substitutions: tuple[str, ...] = ()
    unmasked_qa: tuple[str, ...] = ()

    @property
    def masked_qa(self) -> tuple[str, ...]:
        """Quality classes that set a pixel aside."""
        return self.scene.masked_qa or ()


def match_scene(
    contract: PixelContract,
    scene: Scene,
    *,
    accept: Mapping[str, str] | None = None,
    need_crs: bool = False,
) -> SceneMatch:
    """Select the contract's bands from a scene, or say why that cannot be done.

    Args:
        accept: substitutions that the user allows: band -> similar band, and
            ``resolution`` -> ``any``.
        need_crs: a scene without a CRS is refused.

    Raises:
        BandError: a band is missing.
        UnitsError: the level differs or is unknown.
        SceneError: the number of dates differs.
        GridError: pixels are of another size on the ground, or there is no CRS.
    """
    accept = dict(accept or {})
    any_resolution = _any_resolution(accept.pop("resolution", None))
    bands, substitutions = _match_bands(contract.bands, scene, accept)
    _match_level(contract, scene)
    if len(scene.dates) != contract.dates:
        raise SceneError(
            f"{scene.id} has {_dates(len(scene.dates))}; the model needs {_dates(contract.dates)}; "
            f"open {_dates(contract.dates)} of the place as one scene"
        )
    if need_crs and scene.geobox.crs is None:
        raise GridError(
            f"{scene.id} has no CRS; needed one to place the map; give the file its CRS "
            "(gdal_edit.py -a_srs)"
        )
    if need_crs and scene.resolution is None:
        raise GridError(
            f"the grid of {scene.id} lies nowhere on Earth (CRS {crs_name(scene.geobox)}, "
            f"pixels of {abs(scene.geobox.transform.a):g}); give the file its true CRS and grid"
        )
    if not _same_resolution(contract, scene):
        if not any_resolution:
            raise GridError(
                f"{scene.id} has pixels of {scene.resolution:.3g} m on the ground; the model was "
                f"trained on {contract.resolution:.3g} m; resample the scene, or allow it with "
                "--accept resolution=any"
            )
        substitutions.append("resolution=any")
    # Substituted bands keep their own names here: they are what the numbers are.
    chosen = masked_as(contract.masked_qa, scene.select(bands=bands))
    unmasked = [name for name in contract.masked_qa if name not in (chosen.masked_qa or ())]
    return SceneMatch(chosen, tuple(substitutions), tuple(unmasked))


def masked_as(classes: Sequence[str], scene: Scene) -> Scene:
    """The scene with these quality classes set aside, as far as it tells them.

    What the user chose when opening it stands.
    """
    if scene.masked_qa is not None or scene.quality is None:
        return scene
    told = [name for name in classes if name in scene.quality.classes]
    return scene.setting_aside(told) if told else scene


def _match_bands(
    wanted: Sequence[str], scene: Scene, accept: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The scene's bands for the contract's, and the substitutions among them."""
    stray = [name for name in accept if name not in wanted]
    if stray:
        raise BandError(
            f"--accept {stray[0]}={accept[stray[0]]}: the model does not read {stray[0]}; "
            f"it reads {', '.join(wanted)}"
        )
    chosen = [name if name in scene.bands else accept.get(name, name) for name in wanted]
    missing = [name for name, band in zip(wanted, chosen, strict=True) if band not in scene.bands]
    if missing:
        raise BandError(
            f"{scene.id} has {', '.join(scene.bands)}; the model needs {', '.join(missing)} too; "
            f"{_advice(missing, scene.bands)}"
        )
    substitutions = [
        f"{name}={band}" for name, band in zip(wanted, chosen, strict=True) if name != band
    ]
    return chosen, substitutions


def _advice(missing: Sequence[str], held: Sequence[str]) -> str:
    similar = {name: similar_band(name, held) for name in missing}
    if all(similar.values()):
        allowed = " ".join(f"--accept {name}={band}" for name, band in similar.items())
        return f"a similar band may do: allow it with {allowed}"
    return "choose a scene with them, or a model without (geofm info MODEL)"


def similar_band(name: str, among: Sequence[str]) -> str | None:
    """The band whose centre wavelength is nearest, within a twentieth; None if none is.

    >>> similar_band("nir08", ["red", "nir"]), similar_band("swir22", ["red", "nir"])
    ('nir', None)
    """
    wanted = _center(name)
    if wanted is None:
        return None
    away = {
        band: abs(center - wanted)
        for band in among
        if band != name and (center := _center(band)) is not None
    }
    nearest = min(away, key=lambda band: away[band], default=None)
    return nearest if nearest is not None and away[nearest] <= _SIMILAR * wanted else None


def _center(name: str) -> float | None:
    """Centre wavelength, micrometres, of the first sensor that has the band; pan is no colour."""
    found = (band.center for sensor in SENSORS for band in sensor.bands if band.name == name)
    return None if name == "pan" else next(found, None)


def _match_level(contract: PixelContract, scene: Scene) -> None:
    if contract.level in {scene.level, "unknown"}:
        return
    needed = LEVEL_NAMES[contract.level]
    if scene.level == "unknown":
        raise UnitsError(
            f"{scene.id} does not say its processing level; the model needs {needed}; if it is "
            f"that, give level={contract.level} (--level {contract.level})"
        )
    raise UnitsError(
        f"{scene.id} is {LEVEL_NAMES[scene.level]}; the model needs {needed}; choose the scene's "
        f"{'L2A or L2SP' if contract.level == 'surface' else 'L1C or L1TP'} product, or a model "
        f"for {LEVEL_NAMES[scene.level]}"
    )


def _same_resolution(contract: PixelContract, scene: Scene) -> bool:
    """Whether ground pixels are alike; a grid without a place on Earth has none to compare."""
    if scene.resolution is None:
        return True
    ratio = scene.resolution / contract.resolution
    return 1 / MAX_RESOLUTION_RATIO <= ratio <= MAX_RESOLUTION_RATIO


def _any_resolution(text: str | None) -> bool:
    if text not in {None, "any"}:
        raise GridError(f"--accept resolution={text} means nothing; the one choice is any")
    return text == "any"


def _dates(count: int) -> str:
    return "1 date" if count == 1 else f"{count} dates"
