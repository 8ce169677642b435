"""What goes of real architectures, counted by hand."""

import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.inference.export import export_onnx
from seam.masks.masks import apply_masks, maskable
from seam.measures.macs import count
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead
from tests.seam.architectures import BUILT_IN
from tests.seam.compaction.masked import vision_transformer, with_removed
from tests.seam.compaction.small import compacted, kill, num_weights, settled


def test_a_second_pass_finds_nothing_more():
    done = compacted(
        with_removed(settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "most filters"), (2, 3, 32, 32)
    )
    assert sum(done.removed.values()) > 400
    assert compact(done.module, torch.randn(2, 3, 32, 32)).removed == {}


def test_every_zero_filter_of_a_chain_goes_but_one_before_a_padded_layer():
    network = with_removed(settled(build("vgg16_bn_cifar", 10), torch.randn(8, 3, 32, 32)), "half the filters")
    layers = {name: m for name, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    zero = {name: int((~m.weight.flatten(1).any(1)).sum()) for name, m in layers.items()}
    done = compacted(network, (2, 3, 32, 32))
    padded = list(zero)[:12]
    assert done.removed == {name: n - (name in padded) for name, n in zero.items() if n}
    assert list(done.kept) == padded


def test_a_dead_residual_block_disappears(tmp_path):
    network = settled(build("resnet20", 10), torch.randn(8, 3, 32, 32))
    with torch.no_grad():
        network.layer2[1].conv1.weight.zero_()
    done = compacted(network, (2, 3, 32, 32))
    assert done.removed == {"layer2.1.conv1": 31}  # what it gives is constant but for the border
    with torch.no_grad():
        network.layer2[1].conv2.weight.zero_()
    done = compacted(network, (2, 3, 32, 32))
    assert done.removed == {"layer2.1.conv1": 32, "layer2.1.conv2": 32}
    assert [name for name, _ in done.module.named_modules() if name.startswith("layer2.1.conv")] == []
    assert export_onnx(done.module, torch.randn(1, 3, 32, 32), tmp_path / "m.onnx") <= 1e-4


def test_padded_shortcuts_shrink():
    network = settled(build("resnet20_a", 10), torch.randn(8, 3, 32, 32))
    dead = {2: [0, 1, 30], 3: [16, 17, 46]}  # of stage 2 zeros in its shortcut; of stage 3 those of stage 2
    for stage, channels in dead.items():
        for block in (network.get_submodule(f"layer{stage}.{i}") for i in range(3)):
            kill(block.conv2, *channels)
            with torch.no_grad():
                block.bn2.bias[channels] = -100.0
    done = compacted(network, (2, 3, 32, 32))
    assert done.removed == {f"layer{stage}.{i}.conv2": 3 for stage in dead for i in range(3)}
    assert [m.in_channels for name, m in done.module.named_modules() if name.endswith("0.conv1")] == [16, 16, 29]


def test_dead_blocks_of_a_vision_transformer_disappear(tmp_path):
    network = settled(vision_transformer(tmp_path), torch.randn(2, 3, 32, 32))
    first, second = network.encoder.layers
    kill(first.mlp[3], *range(32), bias=0.5)
    with torch.no_grad():
        second.self_attention.in_proj_weight[64:] = 0
    done = compacted(network, (2, 3, 32, 32))
    path = "encoder.layers.encoder_layer"
    assert done.removed == {
        **{f"{path}_0.mlp.0": 64, f"{path}_0.mlp.3": 32},
        **{f"{path}_1.self_attention": 32, f"{path}_1.self_attention.out_proj": 32},
    }
    assert done.kept == {}
    left = {name for name, _ in done.module.named_modules()}
    assert not left & {f"{path}_0.mlp", f"{path}_0.ln_2", f"{path}_1.self_attention", f"{path}_1.ln_1"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_network_of_zeros_is_one_channel_wide(name):
    network = settled(build(name, 10), torch.randn(8, 3, 32, 32))
    apply_masks(
        network, {n: torch.zeros(p.shape, dtype=torch.bool) for n, p in maskable(network).items() if p.dim() > 1}
    )
    done = compacted(network, (2, 3, 32, 32))
    assert num_weights(done.module) < 600
    assert done.kept["fc" if name != "vgg16_bn_cifar" else "classifier.6"] == "it is the output"


def test_the_given_network_is_not_changed():
    network = with_removed(settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "most filters").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    done = _compacted_in_training(network)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert num_weights(done.module) < num_weights(network)


def _compacted_in_training(network):
    return compact(network, torch.randn(2, 3, 32, 32))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_smaller_resnet_exports_and_is_counted(tmp_path):
    network = with_removed(settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "half the filters")
    network = Reengineered(network, TargetHead(10, 2))
    done = compacted(network, (2, 3, 32, 32))
    assert export_onnx(done.module, torch.randn(1, 3, 32, 32), tmp_path / "m.onnx") <= 1e-4
    before, after = (count(m, torch.randn(1, 3, 32, 32)) for m in (network, done.module))
    assert after.params_total < 0.6 * before.params_total
    assert after.macs_dense < 0.6 * before.macs_dense
