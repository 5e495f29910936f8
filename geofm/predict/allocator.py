"""Keep the memory that one batch frees for the next one."""

import ctypes
import sys
from functools import cache

# Of malloc.h in glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Below the share of a run's fixed memory that is set aside for the allocator.
KEPT_BYTES = 128 * 2**20


@cache
def keep_freed_memory() -> None:
    """Tell glibc's malloc not to hand freed memory back to the system after each batch.

    Fresh pages are cleared by the kernel and mapped one by one; for a small model, that
    takes a third of the time. Elsewhere than under glibc, nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    tell(_MMAP_THRESHOLD, KEPT_BYTES)
    tell(_TRIM_THRESHOLD, KEPT_BYTES)
