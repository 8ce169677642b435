"""Norms by statistics over all channels: what is zero goes, and the rest is as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction.norms import of_some
from seam.inference.export import export_onnx
from tests.seam.architectures import Stream
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill

DEAD, DIM = [0, 3, 4, 11], 12
NORMS = {
    "layer": lambda: nn.LayerNorm(DIM, eps=0.1),
    "without bias": lambda: nn.LayerNorm(DIM, bias=False),
    "plain": lambda: nn.LayerNorm(DIM, elementwise_affine=False),
    "rms": lambda: nn.RMSNorm(DIM),
    "rms with eps": lambda: nn.RMSNorm(DIM, eps=0.1, elementwise_affine=False),
    "group": lambda: nn.GroupNorm(1, DIM, eps=0.1),
    "plain group": lambda: nn.GroupNorm(1, DIM, affine=False),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_of_some_is_that_of_all_where_the_others_are_zero(name):
    norm, kept = NORMS[name](), torch.ones(DIM, dtype=torch.bool)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    kept[DEAD] = False
    values, axis = torch.randn(5, 7, DIM) * 3 + 2, -1
    if isinstance(norm, nn.GroupNorm):
        values, axis = values.transpose(1, 2), 1
    at = kept.nonzero()[:, 0]
    whole = torch.zeros_like(values).index_copy(axis, at, values.index_select(axis, at))
    small = of_some(norm, kept)
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in norm.parameters()) * 8 // 12
    torch.testing.assert_close(small(whole.index_select(axis, at)), norm(whole).index_select(axis, at))
    if not isinstance(norm, nn.RMSNorm):  # the usual norm of what is left is another
        plain = F.layer_norm(whole.index_select(-1, at), (8,)) if axis == -1 else F.group_norm(whole[:, at], 1)
        assert not torch.allclose(of_some(_without_affine(norm), kept)(whole.index_select(axis, at)), plain, atol=1e-2)


def _without_affine(norm):
    plain = copy.deepcopy(norm)
    for name, _ in norm.named_parameters():
        setattr(plain, name, None)
    return plain


def _no_stream(network, dead):
    """Zeros for all that writes these channels of the stream, and for all that reads them behind a norm."""
    with torch.no_grad():
        for held in (network.token, network.positions, network.scale):
            held[..., dead] = 0
        for layer in (network.embed, network.attention.out_proj, network.mlp[2]):
            kill(layer, *dead)
        network.attention.in_proj_weight[:, dead] = 0
    for layer in (network.mlp[0], network.fc):
        ignore(layer, *dead)
    return network


@pytest.mark.parametrize("norm", ["layer", "rms", "no affine"])
def test_a_stream_loses_channels_that_nothing_writes_or_reads(norm, tmp_path):
    done = compacted(_no_stream(Stream(norm), DEAD))
    assert done.removed == {"embed": 4, "attention.out_proj": 4, "mlp.2": 4}
    assert done.kept == {}
    left = done.module
    assert (left.token.shape, left.positions.shape, left.scale.shape) == ((1, 1, 8), (17, 8), (8,))
    assert {n.normalized_shape for n in left.norms.children()} == {(8,)}
    assert left.attention.in_proj.in_features == left.get_submodule("mlp.0").in_features == left.fc.in_features == 8
    assert export_onnx(left, torch.randn(IMAGES), tmp_path / "m.onnx") <= 1e-4


@pytest.mark.parametrize("which", ["token", "positions", "bias"])
def test_one_number_that_is_written_keeps_a_channel(which):
    network = _no_stream(Stream(), DEAD)
    with torch.no_grad():
        if which == "bias":
            network.mlp[2].bias[3] = 0.3
        else:
            getattr(network, which).view(-1, DIM)[-1, 3] = 0.3
    done = compacted(network)
    assert done.removed == {"embed": 3, "attention.out_proj": 3, "mlp.2": 3}
    assert set(done.kept) == ({"embed", "attention.out_proj", "mlp.2"})


def test_a_channel_that_is_read_behind_a_norm_stays():
    network = _no_stream(Stream(), DEAD)
    with torch.no_grad():
        network.fc.weight[:, 3] = 1.0  # zero less the mean is not zero
    assert compacted(network).removed == {"embed": 3, "attention.out_proj": 3, "mlp.2": 3}


def test_a_constant_that_is_not_zero_stays_in_the_statistics():
    layers = {"a": conv(3, 6), "norm": nn.GroupNorm(1, 6), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b(m.norm(m.a(x)).relu()).flatten(1), **layers)
    kill(network.a, 1, bias=0.7)
    kill(network.a, 2)
    ignore(network.b, 1, 2)
    done = compacted(network)
    assert (done.removed, done.kept) == ({"a": 1}, {"a": "not zero, and in the statistics of 'norm'"})


def test_a_scale_of_zero_makes_a_constant():
    layers = {"a": conv(3, 6), "norm": nn.GroupNorm(1, 6), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), **layers)
    with torch.no_grad():
        network.norm.weight[4] = 0
    kill(network.a, 4)
    assert compacted(network).removed == {"a": 1}  # its shift is in the bias behind


def test_a_norm_over_more_than_channels_keeps_all():
    layers = {"a": conv(3, 6), "norm": nn.LayerNorm((6, 6)), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), **layers)
    kill(network.a, 1)
    ignore(network.b, 1)
    done = compacted(network)
    assert (done.removed, done.kept) == ({}, {"a": "'norm' reads every channel"})


def test_a_norm_that_is_called_twice_keeps_all():
    layers = {"a": conv(3, 6), "norm": nn.GroupNorm(1, 6), "b": conv(6, 2)}
    network = Small(lambda m, x: m.b(m.norm(m.norm(m.a(x)).relu())).flatten(1), **layers)
    kill(network.a, 1)
    ignore(network.b, 1)
    assert compacted(network).removed == {}


def test_what_lies_along_other_axes_is_put_beside():
    network = Small(lambda m, x: m.b(torch.cat([y := m.a(x), y], 2)).flatten(1), a=conv(3, 4), b=conv(4, 4, 2))
    kill(network.a, 0, bias=1.0)
    assert compacted(network).removed == {"a": 1}


def test_a_roll_of_images_leaves_channels_as_they_are():
    def forward(m, x, axis):
        return m.b(torch.roll(m.a(x), 1, axis)).flatten(1)

    for axis in (2, 1):
        network = Small(lambda m, x, axis=axis: forward(m, x, axis), a=conv(3, 4), b=conv(4, 2))
        kill(network.a, 0, bias=1.0)
        assert compacted(network).removed == {"a": 1}


class Written(nn.Module):
    """A norm of one's own, that calls torch's function."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.weight = kind, nn.Parameter(torch.rand(DIM))
        self.bias = None if kind == "rms" else nn.Parameter(torch.rand(DIM))

    def forward(self, x):
        if self.kind == "group":
            return F.group_norm(x, 1, self.weight, self.bias, 0.1)
        if self.kind == "rms":
            return F.rms_norm(x.movedim(1, -1), (DIM,), self.weight, 0.1).movedim(-1, 1)
        return F.layer_norm(x.permute(0, 2, 3, 1), (DIM,), self.weight, self.bias, 0.1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", ["layer", "rms", "group"])
def test_a_norm_that_a_network_writes_out_is_one_of_torchs(kind):
    layers = {"a": conv(3, DIM), "norm": Written(kind), "b": conv(DIM, 2)}
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), **layers)
    kill(network.a, *DEAD)
    ignore(network.b, *DEAD)
    done = compacted(network)
    assert (done.removed, done.kept) == ({"a": 4}, {})
    assert done.module.norm.weight.shape == (8,)
