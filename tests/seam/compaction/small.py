"""Small networks given by a forward pass, weights without effect in them, and comparing them with what is left."""

import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.masks.masks import maskable

IMAGES = (2, 3, 8, 8)


def settled(network, images):
    """As if trained: statistics of these images and a random affine map in every BatchNorm, no weight exactly zero."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.momentum = 1.0
                for parameter, low, high in zip(module.parameters(), (0.5, -0.5), (1.5, 0.5), strict=False):
                    parameter.uniform_(low, high)
        for parameter in maskable(network).values():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        network.train()(images)
    return network.eval()


def num_weights(network):
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def assert_same(network, smaller, images):
    expected = network.eval()(images)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(smaller(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def compacted(network, shape=IMAGES):
    """Compacts, and compares on other images, of another batch size, than the example."""
    done = compact(network, torch.randn(shape))
    assert "" not in done.kept, done.kept
    assert not done.module.training
    assert not any(p.requires_grad for p in done.module.parameters())
    assert_same(network, done.module, torch.randn(3, *shape[1:]))
    return done


class Small(nn.Module):
    """Layers given by name, and a forward pass of `self` and `x`."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x):
        return self._forward(self, x)


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, **options)


def kill(layer, *filters, bias=0.0):
    """Zeros for filters of a layer, so that their outputs are their bias."""
    with torch.no_grad():
        for at in filters:
            layer.weight[at] = 0
            if layer.bias is not None:
                layer.bias[at] = bias


def ignore(layer, *channels):
    with torch.no_grad():
        layer.weight[:, list(channels)] = 0


def residual(**layers):
    layers = {"a": conv(3, 6, padding=1), "b": conv(6, 6, padding=1), "c": conv(6, 4), **layers}

    def forward(m, x):
        x = m.a(x)
        return m.c(F.relu(m.b(x) + x)).flatten(1)

    return Small(forward, **layers)
