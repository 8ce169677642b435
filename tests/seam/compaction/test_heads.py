"""Attention written out: which features of queries, keys and values go, and which heads; counted by hand."""

import pytest
import torch
from torch import nn

from seam.compaction.heads import gather_heads
from seam.compaction.trace import trace
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import density_of, masks_of
from tests.seam.architectures import ATTENTIONS, WrittenAttention
from tests.seam.compaction.small import IMAGES, Small, compacted, ignore, kill, num_weights

HEADS, DIM = 4, 12
"""Of `WrittenAttention`: head h has the features 3 h, 3 h + 1 and 3 h + 2."""


def _random(kind):
    network = WrittenAttention(kind, DIM, HEADS)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.eval()


def _features(network, kind):
    """Groups of the channels of queries, keys and values, (heads, features) each."""
    ids = channel_groups(network, torch.zeros(IMAGES)).outputs
    whole = ids["qkv"] if "qkv" in ids else torch.cat([ids["q"], ids["k"], ids["v"]])
    shape = (DIM // HEADS, HEADS, 3) if kind == "interleaved" else (3, HEADS, DIM // HEADS)
    by_part = whole.view(shape)
    return by_part.permute(2, 1, 0) if kind == "interleaved" else by_part


@pytest.mark.parametrize("kind", [k for k in ATTENTIONS if k not in ("one head", "biased")])
def test_a_head_goes_with_its_queries_keys_and_values(kind):
    q, k, v = _features(_random(kind), kind)
    assert torch.equal(q, k)
    assert torch.equal(q, v)
    assert [len(head.unique()) for head in q] == [1] * HEADS
    assert len(q.unique()) == HEADS
    assert (q >= 0).all()


def test_without_heads_features_go_one_by_one():
    ids = channel_groups(_random("one head"), torch.zeros(IMAGES)).outputs["qkv"].view(3, DIM)
    assert torch.equal(ids[0], ids[1])
    assert len(ids[0].unique()) == len(ids[2].unique()) == DIM
    assert not set(ids[0].tolist()) & set(ids[2].tolist())


def test_where_heads_cannot_go_as_many_features_of_each_do():
    """A table of biases, of all heads, is added."""
    q, k, v = _features(_random("biased"), "biased")
    assert torch.equal(q, k)
    for part in (q, v):
        assert [len(head.unique()) for head in part] == [DIM // HEADS] * HEADS
        assert torch.equal(part.sort(1).values, part[:1].sort(1).values.expand_as(part))
    assert not set(q.flatten().tolist()) & set(v.flatten().tolist())


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_half_of_an_attention_goes_exactly(kind, tmp_path):
    network = _random(kind)
    groups = channel_groups(network, torch.zeros(IMAGES))
    scored = ScoredChannels(network, groups)
    with torch.no_grad():
        scored.scores.copy_(torch.rand(groups.number))
    scored.keep(0.5)
    masked = density_of(scored)
    apply_masks(network, masks_of(scored))
    done = compacted(network)
    assert num_weights(done.module) - getattr(network, "bias", torch.empty(0)).numel() == round(
        masked * (num_weights(network) - getattr(network, "bias", torch.empty(0)).numel())
    )
    assert export_onnx(done.module, torch.randn(IMAGES)[:1], tmp_path / "m.onnx") <= 1e-4


def test_features_and_heads_without_effect_go():
    network = _random("transposed")
    kill(network.q, 0, 5, 8, 10, bias=0.0)  # of each head one; of what is zero the other factor does not matter
    ignore(network.out, 1, 5, 6, 11)
    done = compacted(network)
    assert done.removed == {"q": 4, "k": 4, "v": 4}
    assert torch.equal(done.module.k.bias, network.k.bias[[1, 2, 3, 4, 6, 7, 9, 11]])
    assert torch.equal(done.module.v.bias, network.v.bias[[0, 2, 3, 4, 7, 8, 9, 10]])
    ignore(network.out, 4, 3)  # nothing of the second head is read
    done = compacted(network)
    assert done.removed == {"q": 6, "k": 6, "v": 6}
    assert torch.equal(done.module.q.bias, network.q.bias[[1, 2, 6, 7, 9, 11]])


def test_one_feature_of_queries_that_is_zero_stays_with_those_of_other_heads():
    network = _random("transposed")
    kill(network.q, 0, 5)
    assert compacted(network).removed == {}


def test_what_is_the_same_for_all_tokens_goes_past_attention():
    network = _random("fused")
    with torch.no_grad():
        network.qkv.weight[2 * DIM + 3 : 2 * DIM + 6] = 0  # the values of the second head
    done = compacted(network)
    assert done.removed == {"qkv": 9}


def test_products_that_are_no_attention_are_as_they_were():
    network = Small(
        lambda m, x: m.fc((t := x.flatten(2).transpose(1, 2)) @ m.mix(t).transpose(1, 2) @ t).mean(1),
        mix=nn.Linear(3, 3),
        fc=nn.Linear(3, 2),
    )
    assert compacted(network).removed == {}
    features = Small(
        lambda m, x: m.fc(torch.einsum("bchw,bdhw->bcd", x, m.up(x)).flatten(1)),
        up=nn.Conv2d(3, 4, 1),
        fc=nn.Linear(12, 2),
    )
    kill(features.up, 1)
    done = compacted(features)
    assert (done.removed, done.kept) == ({}, {"up": "'einsum' reads every channel"})


def test_every_way_to_write_it_becomes_one():
    for kind in ATTENTIONS:
        traced = trace(_random(kind), torch.randn(IMAGES))
        gather_heads(traced)
        kinds = [traced.kind(node) for node in traced.nodes]
        assert kinds.count("splitheads") == 3, kind
        assert kinds.count("joinheads") == 1, kind
        assert "matmul" not in kinds, kind
        images = torch.randn(3, *IMAGES[1:])
        traced.module.recompile()
        network = _random(kind)
        network.load_state_dict(traced.module.state_dict(), strict=False)
        torch.testing.assert_close(traced.module(images), network(images))
