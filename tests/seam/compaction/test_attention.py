"""Heads of attention without effect go; where it is more than attention to itself they stay."""

import pytest
import torch
from torch import nn

from seam.inference.export import export_onnx
from tests.seam.compaction.small import IMAGES, Small, compacted


def _attention(forward=lambda m, y: m.attention(y, y, y, need_weights=False)[0], **options):
    network = Small(
        lambda m, x: m.fc(forward(m, m.embed(x.flatten(2).transpose(1, 2)))).flatten(1),
        **{
            "embed": nn.Linear(3, 12),
            "attention": nn.MultiheadAttention(12, 4, batch_first=True, **options),
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
    assert done.module.attention.project_in.weight.shape == (18, 12)
    assert compacted(_attention(bias=False)).removed == {"attention": 6}
    assert export_onnx(done.module, torch.randn(IMAGES), tmp_path / "m.onnx") <= 1e-4


def test_attention_without_effect_that_is_not_added_keeps_one_head():
    network = _attention()
    with torch.no_grad():
        network.attention.in_proj_weight[24:] = 0
    done = compacted(network)
    assert done.removed["attention"] == 9


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


def test_heads_stay_where_attention_has_more_than_projections():
    for options in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        done = compacted(_attention(**options))
        assert done.removed == {}
        assert "another kind" in done.kept["attention"]
    done = compacted(_attention(lambda m, y: m.attention(y, z := y[..., :6], z)[0], kdim=6, vdim=6))
    assert done.removed == {}
    assert "another kind" in done.kept["attention"]
