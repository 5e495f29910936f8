"""What can be wrong with the user's input, by kind.

Every message says what was found, what was needed, and the next step. The
command line prints it as one sentence and exits with 1; anything that is not a
`GeofmError` is our own bug and exits with 70.
"""


class GeofmError(Exception):
    """The input is at fault, and the message says how to go on."""


class SceneError(GeofmError):
    """A scene cannot be opened or read."""


class BandError(GeofmError):
    """A band is missing, unknown or named twice."""


class UnitsError(GeofmError):
    """Stored numbers do not turn into the reflectance that is needed."""


class GridError(GeofmError):
    """A grid lacks a CRS, or two grids do not fit together."""


class TilingError(GeofmError):
    """Windows cannot cover the grid as asked."""


class LabelError(GeofmError):
    """Labels are absent, unknown or do not fit their scene."""


class ElsewhereError(LabelError):
    """Labels lie elsewhere than their scene."""


class DatasetError(GeofmError):
    """A published set is unknown, absent, damaged or out of reach."""


class SplitError(GeofmError):
    """Training and test areas leak into each other, or one is empty."""


class ModelError(GeofmError):
    """A model folder is damaged, incomplete or of an unknown kind."""


class ConfigError(GeofmError):
    """A setting is unknown or out of range."""


class OutputError(GeofmError):
    """An output exists already, or cannot be written."""


class BusyError(OutputError):
    """Another run holds the output."""


class DiskFullError(OutputError):
    """The disk or the quota has no room for an output."""


class Stopped(GeofmError):
    """The run was told to stop; what it has finished is kept and can be resumed."""


def ran_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: of Python, or of torch, which on a CPU has no error of its own."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )
