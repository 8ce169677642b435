"""Values that are the same for all channels: gates, scalars, conditions; and arguments that are not given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.inference.export import export_onnx
from seam.masks.groups import channel_groups
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, settled

ALIKE = {
    "a gate of one channel": (lambda m, x: (y := m.a(x)) * m.gate(y).sigmoid(), ["a"]),
    "a gate in front": (lambda m, x: m.gate(x[:, :1, 1:7, 1:7].expand(-1, 6, -1, -1)).sigmoid() * m.a(x), ["a"]),
    "a map that is added": (lambda m, x: m.a(x) + x.mean(1, keepdim=True)[..., :6, :6], ["a"]),
    "the least of a map": (lambda m, x: torch.minimum(m.a(x), x[:, :1, :6, :6]), ["a"]),
    "a learned scalar": (lambda m, x: m.scale * m.a(x) + m.c(x), ["a", "c"]),
    "a learned power": (lambda m, x: m.a(x).clamp(min=1e-3).pow(m.scale), ["a"]),
    "shares of experts": (
        lambda m, x: sum(
            m.route(x.mean((2, 3))).softmax(1)[:, i, None, None, None] * layer(x) for i, layer in enumerate((m.a, m.c))
        ),
        ["a", "c"],
    ),
    "one or the other": (
        lambda m, x: torch.where(x.mean((1, 2, 3), keepdim=True) > 0, m.a(x), m.c(x)),
        ["a", "c"],
    ),
    "zeros like another": (lambda m, x: torch.maximum(m.a(x), torch.zeros_like(m.c(x))), ["a"]),
    "the size of another": (lambda m, x: F.interpolate(m.a(x), size=m.c(x).shape[2:]), ["a"]),
    "the last sizes of another": (lambda m, x: F.interpolate(m.a(x), size=m.a(x).shape[-2:]), ["a"]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_channels_go_beside_what_is_the_same_for_all(name: str, tmp_path: Any) -> None:
    forward, lose = ALIKE[name]
    layers = {"a": conv(3, 6), "c": conv(3, 6), "gate": conv(6, 1, 1), "route": nn.Linear(3, 2), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b(forward(m, x)).mean((2, 3)), **layers)
    network.scale = nn.Parameter(torch.full((1,), 1.5))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert all(groups.outputs[layer].tolist() == groups.inputs["b"].tolist() for layer in lose)
    assert bool((groups.outputs["a"] >= 0).all())
    assert "gate" not in groups.outputs or groups.outputs["gate"].tolist() == [-1], "it is needed whole"
    ignore(network.b, 1, 4)
    ignore(network.gate, 1, 4)
    done = compacted(network)
    assert {layer: done.removed.get(layer) for layer in lose} == dict.fromkeys(lose, 2)
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_a_channel_of_zeros_stays_one_under_a_gate() -> None:
    layers = {"a": conv(3, 6), "gate": conv(6, 1, 1), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b((y := m.a(x)) * m.gate(y).sigmoid()).mean((2, 3)), **layers)
    with torch.no_grad():
        network.a.weight[2], network.a.bias[2] = 0, 0
        network.a.weight[3], network.a.bias[3] = 0, 1
    done = compacted(network)
    assert done.removed == {"a": 1}, "what is 1 varies with the gate"


class Optional(nn.Module):
    """Arguments that are not given: a mask, a switch, others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 6), conv(6, 2)

    def forward(self, images: Any = None, mask: Any = None, *more: Any, features: bool = False, **others: Any) -> Any:
        x = self.a(images)
        x = x if mask is None else x + mask
        scores = self.b(x).mean((2, 3))
        return (scores, x, more, others) if features else scores


def test_arguments_that_are_not_given_decide_nothing() -> None:
    network = Optional().eval()
    assert channel_groups(network, torch.zeros(IMAGES)).number == 6
    ignore(network.b, 0, 1)
    assert compacted(network).removed == {"a": 2}


class Encoded(nn.Module):
    """Two of torch's own layers of a transformer, in one of its orders."""

    def __init__(self, first: bool, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=first, norm_first=norm_first)
        self.first, self.a, self.b = first, nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.a(x).flatten(2)
        mixed = self.encoder(tokens.permute(0, 2, 1) if self.first else tokens.permute(2, 0, 1))
        logits: Tensor = self.b(mixed.mean(1 if self.first else 0))
        return logits


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("first", [False, True])
@torch.no_grad()
def test_transformers_of_torch_are_made_of_layers(first: bool, norm_first: bool, tmp_path: Any) -> None:
    torch.manual_seed(0)
    network = settled(Encoded(first, norm_first), torch.randn(4, *IMAGES[1:]))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert bool((groups.outputs["encoder.layers.1.linear1"] >= 0).all())
    assert bool((groups.outputs["encoder.layers.0.self_attn.in_proj"] >= 0).all())
    ignore(network.encoder.layers[1].linear2, 0, 3, 5)
    ignore(network.encoder.layers[0].linear2, 1)
    done = compacted(network)
    assert done.removed == {"encoder.layers.0.linear1": 1, "encoder.layers.1.linear1": 3}
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_norms_of_several_devices_are_norms() -> None:
    network = Small(
        lambda m, x: m.b(m.drop(m.norm(m.a(x)))).mean((2, 3)),
        a=conv(3, 6),
        norm=nn.SyncBatchNorm(6),
        drop=nn.AlphaDropout(0.5),
        b=conv(6, 2),
    )
    ignore(network.b, 0)
    assert compacted(network).removed == {"a": 1}
