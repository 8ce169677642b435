"""advertorch 0.2.3 on a current torch: import attacks from here, never from advertorch itself.

advertorch imports `zero_gradients` from `torch.autograd.gradcheck`, which torch 1.9 removed. It is
put back before the import; of the attacks used here only FAB calls it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from torch import Tensor


def _zero_gradients(x: Tensor | Iterable[Tensor]) -> None:
    for tensor in [x] if isinstance(x, Tensor) else x:
        if tensor.grad is not None:
            tensor.grad.detach_().zero_()


_gradcheck = importlib.import_module("torch.autograd.gradcheck")  # the attribute of that name is a function
if not hasattr(_gradcheck, "zero_gradients"):
    _gradcheck.zero_gradients = _zero_gradients  # type: ignore[attr-defined]

from advertorch import __version__ as version  # noqa: E402
from advertorch.attacks import LinfFABAttack, LinfPGDAttack  # noqa: E402

__all__ = ["LinfFABAttack", "LinfPGDAttack", "version"]
