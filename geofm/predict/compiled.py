"""Forward passes compiled by inductor with frozen weights, where many windows pay for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from geofm.model.encoder import EncoderConfig
from geofm.model.segmenter import Segmenter
from geofm.predict.plan import WindowPlan

Forward = Callable[[Tensor], Tensor]
# Multiply-adds after which the minute of a compiler has come back: some thousand windows of
# the 100M model. Where bfloat16 is native a compiled pass is worth a third of the time (less
# memory traffic between its products); in float32 it is worth nothing, measured with AVX2.
PAYS = 2**44

_Key = tuple[tuple[int, ...], str, bool]
_FORWARDS: WeakKeyDictionary[Segmenter, dict[_Key, Forward]] = WeakKeyDictionary()


def compiling_pays(segmenter: Segmenter, plan: WindowPlan, *, kind: str, bf16: bool) -> bool:
    """Whether to compile, by a rule of model, plan and device; never by timing.

    Args:
        kind: ``"cpu"`` or ``"cuda"``; GPUs compute eagerly.
    """
    config = segmenter.encoder.config
    weights = sum(parameter.numel() for parameter in segmenter.encoder.parameters())
    windows = len(plan.rows) * len(plan.cols)
    return kind == "cpu" and bf16 and windows * _tokens(config) * weights >= PAYS


def eager_forward(segmenter: Segmenter, kind: str, *, bf16: bool) -> Forward:
    """The forward pass as it is written."""
    return partial(_forward, segmenter, kind, bf16)


def compiled_forward(
    segmenter: Segmenter, shape: tuple[int, ...], kind: str, *, bf16: bool
) -> Forward:
    """The forward pass for inputs of one shape, compiled once a process.

    Raises:
        Exception: whatever the compiler raises, where it does not work.
    """
    found = _FORWARDS.setdefault(segmenter, {})
    key = (shape, kind, bf16)
    if key not in found:
        from torch._inductor import config  # takes seconds to import

        forward = torch.compile(eager_forward(segmenter, kind, bf16=bf16), dynamic=False)
        device = next(segmenter.parameters()).device
        with config.patch(freezing=True), torch.no_grad():
            forward(torch.zeros(shape, device=device))
        found[key] = forward
    return found[key]


def why_not_compiled(
    segmenter: Segmenter, shape: tuple[int, ...], kind: str, *, bf16: bool
) -> str | None:
    """Compile; None, or why the map is computed eagerly instead."""
    try:
        compiled_forward(segmenter, shape, kind, bf16=bf16)
    except Exception as error:
        torch.compiler.reset()
        told = str(error).strip().splitlines() or [""]
        return f"eager: torch.compile failed ({type(error).__name__}: {told[0][:200]})"
    return None


def _forward(segmenter: Segmenter, kind: str, bf16: bool, x: Tensor) -> Tensor:
    with _autocast(kind, bf16), _exact_convolutions(kind):
        logits: Tensor = segmenter(x)
    return logits


def _autocast(kind: str, bf16: bool) -> AbstractContextManager[None]:
    return torch.autocast(kind, torch.bfloat16) if bf16 else nullcontext()


def _exact_convolutions(kind: str) -> AbstractContextManager[None]:
    """On a GPU: float32 as it says, not TF32's ten bits, and the same algorithm each time."""
    if kind != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def _tokens(config: EncoderConfig) -> int:
    dates, rows, cols = config.grid
    return dates * rows * cols
