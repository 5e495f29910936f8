"""How much ground of each class there is: points to be labelled, and estimates from them."""

from pathlib import Path
from typing import TYPE_CHECKING

from geofm.api.models import Model
from geofm.assess import area as assess_area
from geofm.assess.area import AreaDesign, AreaEstimate
from geofm.assess.area_design import DesignConfig
from geofm.predict.engine import Progress

if TYPE_CHECKING:
    import xarray as xr


def design_area(
    map: "str | Path | xr.Dataset",  # noqa: A002  it is one
    output: str | Path,
    *,
    config: DesignConfig | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AreaDesign:
    """Draw the points that a map's areas need, and write them to be labelled by people.

    Args:
        map: as `map_scene` wrote it, or `Model.map` gave it.
        output: ``.gpkg``, ``.parquet`` or ``.csv``, with an empty column ``reference``. How
            the points were drawn is kept in ``.design.json`` beside it.
        config: which standard error is wanted, of what; 0.02 of the overall accuracy.
        overwrite: replace points that exist, and what was labelled in them.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the map shows no class.
        ConfigError: the config names a class that the map has not, or asks too much.
        OutputError: the output exists, or cannot be written.
    """
    return assess_area.design_area(
        map, output, config=config, overwrite=overwrite, progress=progress
    )


def estimate_area(
    map: "str | Path | xr.Dataset",  # noqa: A002  it is one
    reference: str | Path,
    *,
    column: str = "reference",
    skip_unlabelled: bool = False,
    model: Model | None = None,
    progress: Progress | None = None,
) -> AreaEstimate:
    """Estimate how much ground of each class there is, from labelled points.

    Args:
        map: as `map_scene` wrote it, or `Model.map` gave it.
        reference: points that `design_area` drew, labelled; or points of one's own with a
            column ``inclusion_probability``, drawn at random from all of the map or in
            its classes.
        column: of the labels: names of classes, or their codes.
        skip_unlabelled: leave points without a label out, as if chance had chosen them.
        model: the map's, where no receipt beside it tells where it was trained.
        progress: is told the share done, 0 to 1, and what is being done.

    Returns:
        Hectares, user's and producer's accuracy of each class and the overall accuracy (0 to
        1), each with a standard error and a 95 % interval; ``print`` shows a table.

    Raises:
        SceneError, GridError: it is no map with a CRS.
        LabelError: the reference is no random sample of the map, or not labelled so that
            it tells every class.
        SplitError: points lie where the model was trained, and were not drawn since.

    >>> design_area("flood.tif", "points.gpkg")  # doctest: +SKIP
    >>> print(estimate_area("flood.tif", "points.gpkg"))  # labelled by now  # doctest: +SKIP
    """
    return assess_area.estimate_area(
        map,
        reference,
        column=column,
        skip_unlabelled=skip_unlabelled,
        provenance=None if model is None else model.trained.provenance,
        progress=progress,
    )
