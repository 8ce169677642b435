"""One layer after another: which channels must go or stay, counted by hand; norms and constants on the way."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.measures.macs import count
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill, settled


def test_weights_and_multiply_adds_shrink_as_counted_by_hand():
    layers = {"a": conv(3, 6, bias=False), "bn": nn.BatchNorm2d(6), "b": conv(6, 4), "fc": nn.Linear(4 * 16, 5)}
    network = Small(lambda m, x: m.fc(F.relu(m.b(F.relu(m.bn(m.a(x))))).flatten(1)), **layers)
    network = settled(network, torch.randn(8, *IMAGES[1:]))
    kill(network.a, 1, 4)  # then its channels 1 and 4 are what the norm makes of 0
    kill(network.b, 3, bias=-1.0)  # then relu makes 0 of it, and the 16 positions of channel 3 are nothing
    before = count(network, torch.randn(IMAGES))
    assert before.params_total == 3 * 6 * 9 + (6 * 4 * 9 + 4) + (64 * 5 + 5)
    done = compacted(network)
    assert (done.removed, done.kept) == ({"a": 2, "b": 1}, {})
    assert done.module.a.weight.shape == (4, 3, 3, 3)
    assert done.module.b.weight.shape == (3, 4, 3, 3)
    assert done.module.fc.weight.shape == (5, 48)
    after = count(done.module, torch.randn(IMAGES))
    assert after.params_total == (3 * 4 * 9 + 4) + (4 * 3 * 9 + 3) + (48 * 5 + 5)  # the norm is in a's new bias
    assert after.macs_dense == 36 * 3 * 4 * 9 + 16 * 4 * 3 * 9 + 48 * 5  # positions times weights
    same = [
        torch.equal(done.module.b.weight, network.b.weight[:3][:, [0, 2, 3, 5]]),
        torch.equal(done.module.fc.weight, network.fc.weight[:, :48]),
    ]
    assert same == [True, True]


def test_a_norm_is_folded_into_the_layer_that_it_alone_reads():
    def forward(m, x):
        x = m.a(x)
        y = m.norm_b(m.b(x))
        return m.norm_fc(m.fc(m.norm_sum(y + m.norm_a(x)).flatten(1)))

    layers = {"a": conv(3, 4, bias=False), "b": conv(4, 4, padding=1), "fc": nn.Linear(4 * 36, 5)}
    norms = {f"norm_{name}": nn.BatchNorm2d(4) for name in ("a", "b", "sum")} | {
        "norm_fc": nn.BatchNorm1d(5, affine=False)
    }
    network = settled(Small(forward, **layers, **norms), torch.randn(8, *IMAGES[1:]))
    done = compacted(network)
    assert (done.removed, done.kept) == ({}, {})
    assert [name for name, _ in done.module.named_children()] == [
        "a",
        "b",
        "norm_a",
        "norm_sum",
        "fc",
    ]  # a is read by b too
    with torch.no_grad():
        network.norm_b.weight.zero_()
    assert compacted(network).removed == {"b": 4}  # scaled by zero it is constant


def test_a_norm_that_cannot_be_folded_in_float32_stays():
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), a=conv(3, 4), norm=nn.BatchNorm2d(4), b=conv(4, 2))
    with torch.no_grad():
        network.a.bias.fill_(1e6)  # the norm takes away again what it rounds off
        network.norm.running_mean.fill_(1e6)
        nn.init.ones_(network.norm.weight)
    kill(network.a, 1, bias=1e6)
    done = compacted(network)
    assert done.removed == {"a": 1}
    assert done.module.norm.num_features == 3


def _chain(bias=2.0, padding=0, **options):
    network = Small(
        lambda m, x: m.b(F.relu(m.a(x))).mean((2, 3)), a=conv(3, 6), b=conv(6, 4, padding=padding, **options)
    )
    kill(network.a, 1, 2, 4, bias=bias)
    return network


def test_constants_become_biases_where_nothing_is_padded():
    done = compacted(_chain())
    assert done.removed == {"a": 3}
    assert done.kept == {}
    assert done.module.b.weight.shape == (4, 3, 3, 3)
    assert (done.module.a.out_channels, done.module.b.in_channels) == (3, 3)


@pytest.mark.parametrize(("multiple", "widths"), [(1, (3, 5)), (2, (4, 6)), (4, (4, 6)), (8, (6, 6))])
def test_as_many_channels_stay_as_make_a_multiple(multiple, widths):
    """6 and 6 channels, of which 3 and 5 do something; where a multiple is more than there are, all stay."""
    network = Small(
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))).mean((2, 3)), a=conv(3, 6), b=conv(6, 6), c=conv(6, 8)
    )
    kill(network.a, 1, 2, 4, bias=2.0)
    kill(network.b, 3, bias=-1.0)
    images = torch.randn(2, 3, 12, 12)
    done = compact(network, images, multiple)
    assert (done.module.a.out_channels, done.module.b.out_channels) == widths
    torch.testing.assert_close(done.module(images), network.eval()(images), atol=0, rtol=1e-5)


def test_constants_before_zero_padding_become_one():
    network = _chain(padding=1)
    with torch.no_grad():
        network.a.bias[2] = 0.5
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert "padded" in done.kept["a"]


@pytest.mark.parametrize(
    "options", [{"padding_mode": "reflect", "padding": 1}, {"padding": "valid"}, {"bias": -1.0, "padding": 1}]
)
def test_constants_go_where_padding_makes_no_difference(options):
    done = compacted(_chain(**options))
    assert (done.removed, done.kept) == ({"a": 3}, {})


def test_a_bias_is_made_where_there_was_none():
    network = Small(lambda m, x: m.b(m.a(x)).flatten(1), a=conv(3, 4), b=conv(4, 2, bias=False))
    kill(network.a, 0, bias=3.0)
    done = compacted(network)
    assert done.removed == {"a": 1}
    assert done.module.b.bias is not None


def test_what_is_not_read_goes_with_all_that_only_it_reads():
    network = Small(
        lambda m, x: m.c(m.b(m.a(x).relu()).relu()).flatten(1), a=conv(3, 5), b=conv(5, 4, padding=1), c=conv(4, 2)
    )
    ignore(network.c, 0, 3)
    with torch.no_grad():
        network.b.weight[1:3, [1, 4]] = 0  # only filters 0 and 3 read them
    assert compacted(network).removed == {"a": 2, "b": 2}


def test_zeros_spread_forwards_through_layers():
    network = Small(lambda m, x: m.c(m.b(m.a(x).relu()).relu()).flatten(1), a=conv(3, 5), b=conv(5, 4), c=conv(4, 2))
    kill(network.a, 0, 1, bias=1.0)
    with torch.no_grad():
        network.b.weight[2, 2:] = 0  # reads only what is constant, so it is constant too
    assert compacted(network).removed == {"a": 2, "b": 1}
