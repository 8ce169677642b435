"""Heads of attention without effect go; where it is more than attention to itself they stay."""

import pytest
import torch
from torch import nn

from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.gate import Gated
from seam.masks.groups import channel_groups
from seam.masks.kernels import groups_of_masks, kernel_masks
from seam.masks.masks import apply_masks, density
from seam.masks.scores import masks_of
from seam.measures.macs import count
from tests.seam.architectures import WrittenAttention
from tests.seam.compaction.small import IMAGES, Small, assert_same, compacted, ignore, num_weights


def _attention(forward=lambda m, y: m.attention(y, y, y, need_weights=False)[0], **options):
    network = Small(
        lambda m, x: m.fc(forward(m, m.embed(x.flatten(2).transpose(1, 2)))).flatten(1),
        **{
            "embed": nn.Linear(3, 12),
            "attention": nn.MultiheadAttention(12, 4, **({"batch_first": True} | options)),
            "fc": nn.Linear(12, 2),
        },
    )
    with torch.no_grad():
        if network.attention.in_proj_weight is not None:
            network.attention.in_proj_weight[24:27] = (
                0  # the values of the first of four heads are the same for all tokens
            )
        network.attention.out_proj.weight[:, 9:12] = 0  # nothing reads the last
        network.attention.out_proj.weight[:, 3:5] = 0  # two of three values of the second are not read
    return network


def test_heads_without_effect_go(tmp_path):
    done = compacted(_attention())
    assert done.removed == {"attention": 6}
    assert done.module.attention.in_proj.weight.shape == (18, 12)
    assert compacted(_attention(bias=False)).removed == {"attention": 6}
    assert export_onnx(done.module, torch.randn(IMAGES), tmp_path / "m.onnx") <= 1e-4


def test_attention_without_effect_that_is_not_added_keeps_one_head():
    network = _attention()
    with torch.no_grad():
        network.attention.in_proj_weight[24:] = 0
    done = compacted(network)
    assert done.removed["attention"] == 11  # of the one that stays, one feature


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, y: m.attention(y, z := y * 2, z)[0],
        lambda m, y: m.attention(m.attention(y, y, y)[0], y, y)[0],
        lambda m, y: m.attention(z := y.flatten(0, 1), z, z)[0].view(-1, 64, 12),
        lambda m, y: m.attention(y, y, y, attn_mask=torch.ones(64, 64).triu(1).bool())[0],
        lambda m, y: y + m.attention(y, y, y)[1].mean((1, 2), keepdim=True),
    ],
)
def test_heads_stay_where_one_tensor_does_not_simply_attend_to_itself(forward):
    done = compacted(_attention(forward))
    assert done.removed == {}
    assert done.kept["attention"]


def _tokens_first(m, y):
    """Attention along the first axis, as torch's layer has it by default."""
    y = y.transpose(0, 1)
    return m.attention(y, y, y, need_weights=False)[0].transpose(0, 1)


def _plain(batch_first):
    """No weight is zero."""
    network = _attention() if batch_first else _attention(_tokens_first, batch_first=False)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.eval()


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_are_groups_as_where_they_are_written_out(batch_first):
    torch_s, written = _plain(batch_first), WrittenAttention("packed", 12, 4).eval()
    groups, expected = (channel_groups(network, torch.zeros(IMAGES)) for network in (torch_s, written))
    ours, theirs = groups.outputs["attention.in_proj"], expected.outputs["qkv"]
    assert groups.packed == {"attention.in_proj"}
    assert len(ours.unique()) == 4
    assert torch.equal(ours - ours.min(), theirs - theirs.min())
    assert torch.equal(groups.inputs["attention.out_proj"], ours[24:])
    assert "attention.in_proj" not in groups.dispensable  # nothing goes past it


@pytest.mark.parametrize("batch_first", [True, False])
def test_half_of_the_heads_go_exactly(batch_first, tmp_path):
    network = _plain(batch_first)
    groups = channel_groups(network, torch.zeros(IMAGES))
    heads = groups.outputs["attention.in_proj"][:12].view(4, 3)[:, 0]
    kept = torch.ones(groups.number, dtype=torch.bool)
    kept[heads[[0, 2]]] = False
    scored, images = ScoredChannels(network, groups), torch.randn(IMAGES)
    gated = Gated(network, groups, images)(images, kept[None].float())[0]
    scored.keep_groups(kept)
    assert groups_of_masks(groups, kernel_masks(groups, kept)).equal(kept)
    assert kernel_masks(groups, kept)["attention.in_proj_weight"].sum() == 18
    masks, whole = masks_of(scored), count(network, images)
    apply_masks(network, masks)
    torch.testing.assert_close(gated, network(images))
    done = compacted(network)
    assert done.removed == {"attention": 6}
    assert done.module.attention.in_proj.weight.shape == (18, 12)
    assert torch.equal(done.module.attention.in_proj.bias[:6], network.attention.in_proj_bias[[3, 4, 5, 9, 10, 11]])
    left = count(done.module, images)
    assert left.params_total == num_weights(done.module) == round(density(masks) * whole.params_total)
    assert whole.macs_dense - left.macs_dense == 64 * 6 * 4 * 12 + 2 * 2 * 64 * 64 * 3  # projections; two heads
    assert export_onnx(done.module, images, tmp_path / "m.onnx") <= 1e-4


def test_features_of_heads_without_effect_go():
    network = _plain(batch_first=True)
    ignore(network.attention.out_proj, 1, 5, 6, 11)  # of the values of each head one
    with torch.no_grad():
        for feature in (0, 5, 8, 10):  # of the queries; the same ones of the keys have no effect then
            network.attention.in_proj_weight[feature] = network.attention.in_proj_bias[feature] = 0
    done = compacted(network)
    assert done.removed == {"attention": 4}
    assert done.module.attention.in_proj.weight.shape == (24, 12)


def test_a_compacted_attention_is_compacted_again():
    network = _plain(batch_first=False)
    ignore(network.attention.out_proj, 0, 1, 2)
    done = compacted(network)
    assert done.removed == {"attention": 3}
    ignore(done.module.attention.out_proj, 0, 1, 2)
    again = compacted(done.module)
    assert again.removed == {"attention.in_proj": 9}
    assert_same(done.module, again.module, torch.randn(IMAGES))


def test_heads_stay_where_attention_has_more_than_projections():
    for options in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        done = compacted(_attention(**options))
        assert done.removed == {}
        assert "another kind" in done.kept["attention"]
    done = compacted(_attention(lambda m, y: m.attention(y, z := y[..., :6], z)[0], kdim=6, vdim=6))
    assert done.removed == {}
    assert "another kind" in done.kept["attention"]
