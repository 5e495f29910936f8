"""Weights spread over devices, and put together again.

Each device keeps a share of every weight, of its gradient and of what AdamW knows of it; a
block's weights are gathered just while the block works (fully sharded data parallelism, Zhao
et al. 2023, https://arxiv.org/abs/2304.11277, as torch's ``fully_shard`` does it).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from geofm.model.blocks import Block

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def spread(module: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    """Leave each device its share of the weights, in place: blocks one by one, then the rest.

    Args:
        mesh: whose axis ``"data_parallel"`` holds the devices.
    """
    from torch.distributed.fsdp import fully_shard

    devices = mesh["data_parallel"]
    for block in [part for part in module.modules() if isinstance(part, Block)]:
        fully_shard(block, mesh=devices)
    fully_shard(module, mesh=devices)
    return module


def whole(tensor: Tensor) -> Tensor:
    """A spread tensor put together in memory; any other as it is. All processes must ask."""
    together = getattr(tensor, "full_tensor", None)
    return tensor if together is None else together().cpu()


def all_whole(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """A state of a model or an optimizer, with every spread tensor `whole`."""

    def found(value: Any) -> Any:
        if isinstance(value, Mapping):
            return all_whole(value)
        return whole(value) if isinstance(value, Tensor) else value

    return {name: found(value) for name, value in state.items()}


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, spread as ``like``, of the same shape, is; as it is where that is whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
