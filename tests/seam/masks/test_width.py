"""The stream of a transformer that norms read: its channels are groups, with tokens, positions and layer scales."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from seam.configs.search import SearchConfig
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.gate import Gated
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks, maskable, whole_channels
from seam.masks.scores import masks_of
from seam.measures.macs import count, weight_macs
from seam.networks.build import build
from seam.search.costs import weight_costs
from tests.seam.architectures import SMALL_VIT, Stream
from tests.seam.compaction.small import Small, compacted, conv, num_weights

DIM, HEADS = 12, 4


def _images(size: int = 8) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def _stream(norm: str = "layer") -> nn.Module:
    torch.manual_seed(0)
    return Stream(norm, DIM, HEADS).eval().requires_grad_(False)


def test_what_writes_and_reads_the_stream_goes_together() -> None:
    groups = channel_groups(_stream(), _images())
    stream = groups.outputs["embed"]
    assert len(stream.unique()) == DIM
    for layer in ("attention.out_proj", "mlp.2"):
        assert torch.equal(groups.outputs[layer], stream)
    for layer in ("attention.in_proj", "mlp.0", "fc"):
        assert torch.equal(groups.inputs[layer], stream)
    assert {n: (h.axis, h.groups.tolist()) for n, h in groups.held.items()} == {
        "token": (2, stream.tolist()),
        "positions": (1, stream.tolist()),
        "scale": (0, stream.tolist()),
    }
    assert {name: ids.tolist() for name, ids in groups.norms.items()} == {
        f"norms.{i}": stream.tolist() for i in (0, 1, 2)
    }
    assert groups.number == DIM + HEADS + 2 * DIM


def _macs_by_hooks(network: nn.Module, image: Tensor) -> int:
    """Of convolutions and linear layers, and of products of queries with keys and of weights with values."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output[0].numel() // len(module.weight)

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    network(image[:1])
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("norm", ["layer", "rms", "no affine"])
def test_masked_gated_compacted_and_exported_are_the_same(norm: str, tmp_path) -> None:
    network, images = _stream(norm), _images()
    groups = channel_groups(network, images)
    kept = torch.ones(groups.number, dtype=torch.bool)
    stream, heads = groups.outputs["embed"], groups.outputs["attention.in_proj"][:DIM:3]
    kept[stream[[0, 3, 4, 11]]] = kept[heads[2]] = False
    kept[groups.outputs["mlp.0"][:10]] = False
    scored = ScoredChannels(network, groups)
    scored.keep_groups(kept)
    masks, whole = masks_of(scored), network(images)
    assert masks.keys() == {*maskable(network), "token", "positions", "scale"}
    gated = Gated(network, groups, images)(images, kept[None].float())[0]
    apply_masks(network, masks)
    masked = network(images)
    assert float((masked - whole).abs().max()) > 1e-2 * float(whole.abs().max())
    torch.testing.assert_close(gated, masked)
    done = compacted(network)
    assert done.removed == {"embed": 4, "attention": 3, "attention.out_proj": 4, "mlp.0": 10, "mlp.2": 4}
    assert done.kept == {}
    assert export_onnx(done.module, images, tmp_path / "m.onnx") <= 1e-4
    weights = sum(int(mask.sum()) for mask in masks.values())
    norms = sum(p.numel() for n in network.norms for p in n.parameters()) * 8 // 12
    assert num_weights(done.module) == weights + norms
    counts = count(done.module, images)
    products = 2 * 17 * 17 * 9
    assert counts.params_total == weights
    by_hooks = _macs_by_hooks(done.module, images) + products
    assert by_hooks == 16 * 12 * 8 + 17 * (8 * 27 + 9 * 8 + 2 * 8 * 14) + 8 * 3 + products
    of_norms = {"layer": 3 * 5 * 17 * 8, "rms": 0, "no affine": 3 * 5 * 17 * 8}[norm]  # as fvcore counts those of torch
    assert counts.macs_dense == by_hooks + of_norms


def test_a_mask_of_positions_is_of_whole_channels() -> None:
    network = _stream()
    groups = channel_groups(network, _images())
    scored = ScoredChannels(network, groups)
    kept = torch.ones(groups.number, dtype=torch.bool)
    kept[groups.outputs["embed"][[1, 5]]] = False
    scored.keep_groups(kept)
    masks = masks_of(scored)
    for name, shape in (("token", (1, 1, DIM)), ("positions", (17, DIM)), ("scale", (DIM,))):
        gone = (~masks[name]).nonzero()
        assert masks[name].shape == shape
        assert set(gone[:, -1].tolist()) == {1, 5}
        assert len(gone) == 2 * masks[name].numel() // DIM
        assert torch.equal(whole_channels(masks)[name], masks[name])


def test_what_no_layer_multiplies_costs_no_multiply_adds() -> None:
    network, config = _stream(), SearchConfig(structure="channels", cost="macs")
    scored = ScoredChannels(network, channel_groups(network, _images()))
    costs = scored.effective.split(weight_costs(scored, config, weight_macs(network, _images())))
    assert float(costs["token"].sum() + costs["positions"].sum() + costs["scale"].sum()) == 0
    assert float(costs["embed.weight"][0, 0, 0, 0]) == 16
    scored.scores.copy_(torch.rand(len(scored.scores)))
    scored.keep(0.4, torch.cat([c.flatten() for c in costs.values()]))
    whole, left = count(network, _images()), None
    apply_masks(network, masks_of(scored))
    left = count(compacted(network).module, _images())
    assert 0.2 * whole.macs_dense < left.macs_dense < 0.5 * whole.macs_dense


def _kept_whole(network: nn.Module, images: Tensor) -> set[str]:
    return {name for name, ids in channel_groups(network.eval(), images).outputs.items() if bool((ids < 0).all())}


def test_a_stream_that_something_writes_which_no_mask_reaches_stays_whole() -> None:
    """Where a channel cannot be made zero, it stays in the statistics."""
    network = _stream()
    assert _kept_whole(network, _images()) == {"fc"}
    positions = network.positions.detach()
    del network.positions
    network.register_buffer("positions", positions)
    assert _kept_whole(network, _images()) == {"embed", "attention.out_proj", "mlp.2", "fc"}


@pytest.mark.parametrize(
    "between", [nn.BatchNorm2d(6), nn.Sigmoid(), nn.GroupNorm(1, 6), nn.InstanceNorm2d(6, affine=True)]
)
def test_what_is_not_zero_in_front_of_a_norm_stays_whole(between: nn.Module) -> None:
    layers = {"a": conv(3, 6), "between": between, "norm": nn.GroupNorm(1, 6), "b": conv(6, 4), "c": conv(4, 2)}
    network = Small(lambda m, x: m.c(m.b(m.norm(m.between(m.a(x))))).flatten(1), **layers)
    assert _kept_whole(network, _images()) == {"a", "c"}
    network.between = nn.ReLU()
    assert _kept_whole(network, _images()) == {"c"}


def test_of_the_attention_that_a_class_token_needs_a_layer_stays(tmp_path) -> None:
    (tmp_path / "small.py").write_text(SMALL_VIT)
    network, images = build(f"{tmp_path / 'small.py'}:vit", 5).eval(), _images(32)
    groups = channel_groups(network, images)
    path = "encoder.layers.encoder_layer"
    attention = {f"{path}_{i}.self_attention.in_proj" for i in (0, 1)}
    assert groups.dispensable == {f"{path}_0.mlp.0", f"{path}_1.mlp.0", f"{path}_0.self_attention.in_proj"}
    assert _kept_whole(network, images) == {"heads.head"}

    def varies(gone: set[str]) -> bool:
        scored, kept = ScoredChannels(network, groups), torch.ones(groups.number, dtype=torch.bool)
        for name in gone:
            kept[groups.outputs[name]] = False
        scored.keep_groups(kept)
        masked = copy.deepcopy(network)
        apply_masks(masked, masks_of(scored))
        with torch.no_grad():
            masked.heads.head.weight.normal_()
            return bool(masked(images).std(0).max() > 1e-5)

    assert varies(set(groups.dispensable))
    assert not varies(attention)
