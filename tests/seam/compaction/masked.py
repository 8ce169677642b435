"""Whole architectures with weights removed in many ways."""

import copy

import torch

from seam.masks.masks import apply_masks, maskable
from seam.networks.build import build
from tests.seam.architectures import SMALL_VIT

RATES = {"nothing": 0.0, "half": 0.5, "most": 0.9, "nearly all": 0.99, "half the filters": 0.5, "most filters": 0.9}


def with_removed(network, kind):
    """A copy with weights removed everywhere but in the last layer, so that there is an output to compare."""
    network = copy.deepcopy(network)
    parameters = {name: p for name, p in maskable(network).items() if not name.startswith("aux")}
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
    dead = (layers[len(layers) // 4], layers[len(layers) // 2], layers[-2])
    masks = {}
    for name, parameter in parameters.items():
        layer, own = name.rpartition(".")[0], parameter.dim() > 1
        if kind == "three layers":
            mask = torch.full(parameter.shape, layer not in dead)
        elif "filters" in kind:  # half: their biases stay; most: they go
            mask = (
                (torch.rand(len(parameter)) >= RATES[kind])
                .view(-1, *[1] * (parameter.dim() - 1))
                .expand(parameter.shape)
            )
            mask = mask if own or kind == "most filters" else torch.ones_like(mask)
        else:
            mask = torch.rand(parameter.shape) >= RATES[kind]
        if layer != layers[-1]:
            masks[name] = mask
    apply_masks(network, masks)
    return network


def vision_transformer(folder):
    (folder / "small.py").write_text(SMALL_VIT)
    return build(f"{folder / 'small.py'}:vit", 10)
