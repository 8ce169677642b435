"""Networks by name: one small file per architecture family."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from seam.errors import ConfigError
from seam.networks.own_file import running
from seam.networks.resnet_cifar import ResNetCifar
from seam.networks.vgg_cifar import VggCifar

_DEPTHS = (20, 32, 44, 56)
BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResNetCifar, depth) for depth in _DEPTHS},
    **{f"resnet{depth}_a": partial(ResNetCifar, depth, padded=True) for depth in _DEPTHS},
    **{f"resnet{depth}_early": partial(ResNetCifar, depth, early=True) for depth in _DEPTHS},
    "vgg16_bn_cifar": VggCifar,
}
"""Name -> function of `num_classes`. Every network takes (batch, 3, height, width) and returns
(batch, num_classes)."""


_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Networks of torchvision that give more than class scores while they train, unless they are told not to."""


def build(architecture: str, num_classes: int) -> nn.Module:
    """A new network with random weights.

    Args:
        architecture: a name in `BUILT_IN`, `torchvision:NAME`, `timm:NAME` (where timm is installed),
            or `path/to/file.py:function`.
        num_classes: number of logits.

    Raises:
        ConfigError: no such name, file or function, or the function failed.
    """
    if architecture in BUILT_IN:
        return BUILT_IN[architecture](num_classes=num_classes)
    kind, _, name = architecture.rpartition(":")
    if kind == "torchvision":
        return _from_torchvision(name, num_classes)
    if kind == "timm":
        return _from_timm(name, num_classes)
    if kind.endswith(".py"):
        return _from_file(Path(kind), name, num_classes)
    raise ConfigError(
        f"architecture '{architecture}': expected {', '.join(BUILT_IN)}, torchvision:NAME, timm:NAME or"
        " path/to/file.py:function."
    )


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise ConfigError(
            f"architecture 'torchvision:{name}': torchvision has no model of that name; see"
            " torchvision.models.list_models()."
        )
    alone = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY_HEADS else {}
    network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **alone)
    return network


def _from_timm(name: str, num_classes: int) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError as e:
        raise ConfigError(
            f"architecture 'timm:{name}': timm cannot be imported ({e}); install it with pip install 'seam[timm]'."
        ) from e
    if not timm.is_model(name):
        raise ConfigError(f"architecture 'timm:{name}': timm has no model of that name; see timm.list_models().")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return network


def _from_file(path: Path, function: str, num_classes: int) -> nn.Module:
    if not path.is_file():
        raise ConfigError(f"architecture '{path}:{function}': no such Python file.")
    try:
        with running(path) as module:
            network = getattr(module, function)(num_classes=num_classes)
    except (Exception, SystemExit) as e:  # a script may end the process
        got = f"{type(e).__name__}: {e}"
        raise ConfigError(
            f"architecture '{path}:{function}': expected {function}(num_classes={num_classes}) to build a network, got"
            f" {got}"
        ) from e
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"architecture '{path}:{function}': expected a torch.nn.Module, got {type(network).__name__}."
        )
    return network
