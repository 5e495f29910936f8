"""NetCDF and Zarr as lazily read xarray datasets; their packages are an extra."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.errors import SceneError
from geofm.scenes.handles import is_remote, plain_name

if TYPE_CHECKING:
    import xarray as xr

_NETCDF = (".nc", ".nc4", ".h5", ".hdf5", ".netcdf")
_ZARR_FILES = (".zgroup", ".zmetadata", "zarr.json")


def is_array_file(path: str) -> bool:
    """Whether a path is a NetCDF file or a Zarr store."""
    return Path(path).suffix.lower() in _NETCDF or _is_zarr(path)


def open_array_file(path: str) -> "xr.Dataset":
    """A dataset of stored numbers: nothing scaled, nothing masked, nothing read yet.

    ``decode_coords`` stays off: attributes that name missing variables break it, and
    geofm looks for the CRS itself.

    Raises:
        SceneError: a package is missing, or the file is not there or damaged.
    """
    import xarray as xr

    zarr = _is_zarr(path)
    package = "zarr" if zarr else "h5netcdf"
    if find_spec(package) is None:
        raise SceneError(
            f"{plain_name(path)} is {'Zarr' if zarr else 'NetCDF'}, which needs {package}; "
            "install it with: pip install 'geofm[files]'"
        )
    if not zarr and not Path(path).is_file():
        raise SceneError(f"{path} does not exist; needed a local NetCDF file; check the path")
    # Consolidated metadata are for stores that cannot be listed.
    options: dict[str, Any] = {"consolidated": is_remote(path)} if zarr else {}
    try:
        dataset = xr.open_dataset(
            path, engine=package, chunks=None, cache=False, mask_and_scale=False,
            decode_coords=False, **options,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SceneError(
            f"{plain_name(path)} cannot be opened as {'Zarr' if zarr else 'NetCDF-4'} "
            f"({type(error).__name__}); it is damaged, or of an older kind (nccopy -k nc4 "
            "converts it); fetch it again"
        ) from error
    # A Zarr store lists its variables in any order, another one on each machine.
    return dataset[sorted(dataset.data_vars, key=str)] if zarr else dataset


def _is_zarr(path: str) -> bool:
    if path.rstrip("/").lower().endswith(".zarr"):
        return True
    return not is_remote(path) and any((Path(path) / name).is_file() for name in _ZARR_FILES)
