"""Whether bfloat16 may compute a map: only within a stated bound of float32, on its own scene."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from geofm.model.folder import TrainedModel
from geofm.predict.infer import Device, Inference
from geofm.predict.plan import WindowPlan
from geofm.predict.rows import codes_of, whole_window
from geofm.scenes.reader import Scene

BOUND = 0.03
"""Most that a probability may differ from its float32 value; classes whose two best
probabilities lie further apart than twice this are then the same."""
# Few, so that a small scene is not computed twice; by the plan, so that the answer is a rule.
_COMPARED, _LOOKED_AT = 4, 64

Batch = tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def within_bound(
    model: TrainedModel, scene: Scene, plan: WindowPlan, device: Device
) -> tuple[Device, str]:
    """The device as it is, or in float32 where bfloat16 leaves the bound, and then why.

    Compares a few windows from all over the plan, the same whenever it is asked.

    Args:
        scene: with the model's bands in the model's order.
        device: computes in bf16.
    """
    exact = replace(device, precision="fp32")
    windows = list(islice(_windows(model, scene, plan), _COMPARED))
    if not windows:
        return exact, "fp32: no data was found to compare bf16 with it"
    dn, valid, mapped = (np.stack(part) for part in zip(*windows, strict=True))
    fine, coarse = (
        torch.stack(list(Inference(model, scene, at, batch=_COMPARED).logits(dn, valid)))
        for at in (exact, device)
    )
    gap = (fine.softmax(1) - coarse.float().softmax(1)).abs().amax(1).cpu()
    worst = float(gap[torch.from_numpy(mapped)].max())
    if worst <= BOUND:
        return device, ""
    return exact, f"fp32: bf16 changes probabilities of this scene by {worst:.2g}, over {BOUND}"


def _windows(model: TrainedModel, scene: Scene, plan: WindowPlan) -> Iterator[Batch]:
    """Stored numbers, validity and what is mapped of windows that have something to map."""
    for window in islice(plan.spread(), _LOOKED_AT):
        inside = window.clip(*scene.shape)
        stored = scene.read_stored(inside)
        dn, valid = whole_window(stored.dn, plan.size), whole_window(stored.valid, plan.size)
        masked = whole_window(stored.masked, plan.size)
        mapped = codes_of(valid, masked, model.contract.min_valid_dates) == 0
        if mapped.any():
            yield dn, valid, mapped
