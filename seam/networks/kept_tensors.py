"""Tensors that modules keep from one call to the next, such as a position bias that is computed once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


def forget_gradients(network: nn.Module) -> None:
    """Detach the tensors that its modules keep of a run with gradients, in place: torch copies no others."""
    for module in network.modules():
        own = {name: value for name, value in vars(module).items() if name not in ("_parameters", "_modules")}
        for name, value in own.items():
            if any(isinstance(leaf, Tensor) and not leaf.is_leaf for leaf in tree_leaves(value)):
                vars(module)[name] = tree_map(_detached, value)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) and not leaf.is_leaf else leaf
