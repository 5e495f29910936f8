"""What fine-tuning learns from, and what it chooses the best weights by."""

from collections.abc import Sequence

import numpy as np

from geofm.errors import SplitError
from geofm.scenes.catalog import Pair
from geofm.tasks import IGNORE
from geofm.tiles.dealing import Counts, class_counts
from geofm.tiles.leakage import find_roles
from geofm.tiles.roles import Part, Roles, split_pairs


def finetuning_roles(
    pairs: Sequence[Pair], *, val: float = 0.2, seed: int = 0, allow_leakage: bool = False
) -> Roles:
    """Set a share of the labelled area apart for validation, where the labels allow it.

    They do not where the rest would lose a class, or validation would see less
    than two: few labels all go into training. Pairs that are given to the test
    are used for neither.

    Args:
        val: share of the area, 0 for none; pairs with a given split keep it.
        seed: of the draw.
        allow_leakage: take a given split whose roles lie near each other.

    Raises:
        SplitError: a given split leaks, or leaves nothing to train on.
    """
    if any(pair.split for pair in pairs):
        roles, leakage = find_roles(pairs, val=val, seed=seed, allow_leakage=allow_leakage)
        leaks = f"; it leaks: {leakage.leaks[0]}" if leakage.leaks else ""
        return Roles(roles.train, roles.val, roles.test, roles.how + leaks)
    everything = split_pairs(pairs, val=0.0)
    if not val:
        return everything
    try:
        roles = split_pairs(pairs, val=val, seed=seed)
    except SplitError as error:
        return Roles(everything.train, how=f"no validation: {error}")
    known, learnt, seen = (
        set(np.flatnonzero(_counts(pairs, part)))
        for part in (everything.train, roles.train, roles.val)
    )
    if learnt != known or len(seen) < 2:
        return Roles(everything.train, how="no validation: too few labels to set some apart")
    return roles


def _counts(pairs: Sequence[Pair], parts: Sequence[Part]) -> Counts:
    """Labelled pixels by class code."""
    counts = np.zeros(IGNORE)
    for at, windows in parts:
        for window in windows:
            counts += class_counts(pairs[at].labels, window)
    return counts
