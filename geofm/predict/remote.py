"""The task as it travels through a Dask scheduler, which opens what it passes on.

Bytes, and a function of a module that imports nothing: the scheduler loads no torch.
"""

import pickle
from typing import Any


def run_packed(packed: bytes) -> Any:
    """Run the pickled `geofm.predict.task.SceneTask`; returns how it ended."""
    from geofm.predict.task import run_task

    # From the batch's own driver, through its own cluster, which runs its code anyway.
    return run_task(pickle.loads(packed))  # noqa: S301
