"""Sums, products and concatenations: what goes together, and what keeps another alive."""

import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from tests.seam.compaction.small import IMAGES, Small, assert_same, compacted, conv, ignore, kill, residual


def test_a_channel_of_a_sum_goes_when_all_that_is_added_is_constant():
    network = residual()
    kill(network.a, 0, 1)
    kill(network.b, 1, 2, bias=1.0)
    done = compacted(network)
    assert done.removed == {"a": 1, "b": 1}
    assert "'add'" in done.kept["a"] + done.kept["b"]


def test_a_channel_of_a_sum_goes_when_it_is_not_read():
    network = residual()
    ignore(network.c, 0, 1)
    ignore(network.b, 0)
    done = compacted(network)
    assert done.removed == {"a": 1, "b": 1}
    assert set(done.kept) == {"b"}  # its channel 1 exists because that of a does


def test_a_dead_branch_disappears():
    network = residual()
    kill(network.b, *range(6), bias=-0.5)
    done = compacted(network)
    assert done.removed == {"b": 6}
    assert not hasattr(done.module, "b")


def test_a_dead_branch_beside_what_is_not_known_disappears():
    layers = {
        "a": conv(3, 6),
        "norm": nn.GroupNorm(1, 6),
        "b": conv(6, 6, 1),
        "act": nn.Softmax(1),
        "c": conv(6, 6, 1),
        "d": conv(6, 4),
    }
    network = Small(lambda m, x: m.d((y := m.norm(m.a(x))) + m.c(m.act(m.b(y)))).flatten(1), **layers)
    kill(network.a, 2)
    kill(network.c, *range(6), bias=0.5)
    done = compacted(network)
    assert done.removed == {"b": 6, "c": 6}
    assert done.kept == {"a": "tied to channels in use"}
    assert [name for name, _ in done.module.named_children()] == ["a", "norm", "d"]


def test_an_addend_stays_if_the_other_is_the_same_for_all_images():
    network = Small(lambda m, x: m.c(m.a(x) + m.place).flatten(1), a=nn.Linear(8, 4), c=nn.Linear(4, 2))
    network.place = nn.Parameter(torch.randn(1, 3, 8, 4))
    kill(network.a, *range(4), bias=1.0)
    done = compact(network, torch.randn(1, 3, 8, 8))  # a batch of one, as large as `place`
    assert done.removed == {}
    assert_same(network, done.module, torch.randn(5, 3, 8, 8))


def test_a_constant_that_gives_the_sum_its_shape_stays():
    network = Small(lambda m, x: (m.a(x) + F.adaptive_avg_pool2d(m.b(x), 1)).flatten(1), a=conv(3, 4), b=conv(3, 4))
    kill(network.a, *range(4), bias=1.0)
    assert compacted(network).removed == {}


def test_a_factor_of_zero_makes_a_product_zero():
    def forward(m, x):
        x = m.a(x)
        return m.c(x * F.relu(m.scale(F.adaptive_avg_pool2d(x, 1)))).flatten(1)

    network = Small(forward, a=conv(3, 6), scale=conv(6, 6, 1), c=conv(6, 2))
    kill(network.scale, 0, bias=-1.0)  # times 0
    kill(network.scale, 1, bias=2.0)  # times 2
    kill(network.a, 2, bias=3.0)  # 3 times something
    ignore(network.scale, 0, 1, 2)
    done = compacted(network)
    assert done.removed == {"a": 1, "scale": 1}
    assert set(done.kept) == {"a", "scale"}


def test_concatenation_keeps_apart_what_it_joins():
    network = Small(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x), m.a(x) * 2], 1)).flatten(1),
        a=conv(3, 4),
        b=conv(3, 5),
        c=conv(13, 2),
    )
    assert compact(network, torch.randn(IMAGES)).removed == {}  # a runs twice
    network._forward = lambda m, x: m.c(torch.cat([y := m.a(x), m.b(x), y * 2], 1)).flatten(1)
    kill(network.a, 0, bias=1.0)
    kill(network.b, 0, 1, bias=1.0)
    ignore(network.c, 1, 6)  # channel 1 of a is read as its double; channel 2 of b not at all
    done = compacted(network)
    assert done.removed == {"a": 1, "b": 3}
    assert done.module.c.in_channels == 8


def test_what_is_not_used_ties_nothing():
    def forward(m, x):
        x = m.a(x)
        _ = x + m.b(x)
        return m.c(m.b2(x)).flatten(1)

    network = Small(forward, a=conv(3, 4), b=conv(4, 4, padding=1), b2=conv(4, 4), c=conv(4, 2))
    ignore(network.b2, 0)
    assert compacted(network).removed == {"a": 1, "b": 4}
