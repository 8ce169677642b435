"""Channels that go together, as Torch-Pruning's dependency graph has them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.masks.groups import channel_groups
from seam.networks.build import build
from tests.seam.compaction.small import Small, conv, residual
from tests.seam.masks.block import seeded_block

IMAGES = (2, 3, 8, 8)


def _dense():
    def forward(m, x):
        x = F.relu(m.a(x))
        x = torch.cat([x, F.relu(m.b(x))], 1)
        return m.fc(torch.cat([x, m.c(x)], 1).mean((2, 3)))

    return Small(forward, a=conv(3, 4), b=conv(4, 3, padding=1), c=conv(7, 2, padding=1), fc=nn.Linear(9, 2))


def _split():
    def forward(m, x):
        one, other = m.a(x).split((4, 2), 1)
        return m.fc(torch.cat([one, m.b(F.relu(other))], 1).mean((2, 3)))

    return Small(forward, a=conv(3, 6), b=conv(2, 3, padding=1), fc=nn.Linear(7, 2))


def _flattened():
    layers = {"a": conv(3, 4), "norm": nn.BatchNorm2d(4), "fc": nn.Linear(4 * 36, 5), "out": nn.Linear(5, 2)}
    return Small(lambda m, x: m.out(F.relu(m.fc(F.relu(m.norm(m.a(x))).flatten(1)))), **layers)


def _grouped():
    """Of each of the two groups as many go, since all that the second layer makes stays."""
    return Small(lambda m, x: m.b(F.relu(m.a(x))).mean((2, 3)), a=conv(3, 8), b=conv(8, 4, groups=2))


def _stream():
    """Tokens that layers add to, in front of each a norm over all channels."""

    def forward(m, x):
        x = m.a(x).flatten(2).transpose(1, 2)
        x = x + m.c(F.gelu(m.b(m.norm(x))))
        return m.fc(m.last(x).mean(1))

    layers = {"a": conv(3, 6, 2, stride=2), "b": nn.Linear(6, 8), "c": nn.Linear(8, 6), "fc": nn.Linear(6, 2)}
    return Small(forward, **layers, norm=nn.LayerNorm(6), last=nn.LayerNorm(6))


NETWORKS = {
    "stream": _stream,
    "residual": residual,
    "depthwise": seeded_block,
    "concatenated": _dense,
    "split": _split,
    "grouped": _grouped,
    "flattened": _flattened,
    "resnet20": lambda: build("resnet20", 10),
}


def _together(network, oracle, graph, layer, channels):
    """Layer -> (outputs, inputs) that go with these channels of `layer`, as Torch-Pruning has it."""
    functions = {nn.Linear: oracle.prune_linear_out_channels, nn.Conv2d: oracle.prune_conv_out_channels}
    remove = oracle.prune_depthwise_conv_out_channels if getattr(layer, "groups", 1) > 1 else functions[type(layer)]
    names = {module: name for name, module in network.named_modules()}
    found: dict[tuple[str, bool], set[int]] = {}
    for dependency, at in graph.get_pruning_group(layer, remove, list(channels)):
        module, handler = dependency.target.module, dependency.handler
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = "in_channels" in handler.__name__
            found.setdefault((names[module], inputs), set()).update(at)
            if getattr(module, "groups", 1) == getattr(module, "in_channels", 0):  # depthwise: both at once
                found.setdefault((names[module], not inputs), set()).update(at)
    return found


def _ours(groups, number):
    every = [((name, False), ids) for name, ids in groups.outputs.items()]
    every += [((name, True), ids) for name, ids in groups.inputs.items()]
    return {key: set((ids == number).nonzero().flatten().tolist()) for key, ids in every if (ids == number).any()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_channels_go_together_as_in_torch_prunings_graph(name):
    oracle = pytest.importorskip("torch_pruning", reason="the oracle of this test; it is in the extra dev")
    network = NETWORKS[name]().eval()
    graph = oracle.DependencyGraph().build_dependency(network, torch.randn(IMAGES))
    groups = channel_groups(network, torch.zeros(IMAGES))
    for layer, ids in groups.outputs.items():
        assert bool((ids >= 0).all()) == (layer not in list(groups.outputs)[-1:])  # all but the classifier's
        for number in ids[ids >= 0].unique().tolist():
            mine = _ours(groups, number)
            theirs = _together(network, oracle, graph, network.get_submodule(layer), mine[layer, False])
            assert mine == theirs, (layer, number)
