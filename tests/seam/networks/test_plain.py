"""Networks that compute their weights, made plain."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from seam.errors import SourceError
from seam.networks.plain import copy_of, load_either_form, plain

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Centred(nn.Conv2d):
    """Its weight has the mean zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class CentredSame(nn.Conv2d):
    """The same, with as much padding as its stride needs, more of it at the end."""

    def forward(self, x: Tensor) -> Tensor:
        widths = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in (x.shape[-1], x.shape[-2])]
        x = F.pad(x, [end for width in widths for end in (width // 2, width - width // 2)])
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias, 2)


class Scaled(nn.Module):
    """A linear layer whose weight has a length of its own for every output; no subclass of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.direction, self.length = nn.Linear(8, 8), nn.Parameter(torch.full((8, 1), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.length * F.normalize(self.direction.weight), self.direction.bias)


def network(layer: nn.Module) -> nn.Module:
    """A layer of 3 to 8 channels in a small network."""
    return nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Linear(8, 4))


def pruned(layer: nn.Module) -> nn.Module:
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


KINDS: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 8, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)),
    "weight norm by hooks": lambda: nn.utils.weight_norm(nn.Conv2d(3, 8, 3)),
    "spectral norm by hooks": lambda: nn.utils.spectral_norm(nn.Conv2d(3, 8, 3)),
    "pruned": lambda: pruned(nn.Conv2d(3, 8, 3)),
    "centred": lambda: Centred(3, 8, 3, stride=2, bias=False),
    "centred, reflected": lambda: Centred(3, 8, 3, padding=1, padding_mode="reflect"),
    "centred, grouped": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Centred(4, 8, 3, groups=2, dilation=2)),
    "padded as needed": lambda: CentredSame(3, 8, 3),
}
PLAIN = (nn.Conv2d, nn.Linear, nn.ConstantPad2d, nn.Sequential, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Flatten)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_weight_that_is_used_becomes_the_parameter(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    given = network(KINDS[kind]()).eval()
    images = torch.randn(3, 3, 8, 8)
    expected, before = given(images), {k: v.clone() for k, v in given.state_dict().items()}
    with caplog.at_level(logging.INFO):
        made = copy_of(given)
        changed = plain(made, EXAMPLE)
    assert len(changed) == 1
    assert f": {changed[0]}." in caplog.text
    assert torch.allclose(made(images), expected, rtol=1e-5, atol=1e-6)
    assert all(type(module) in PLAIN for module in made.modules())
    assert all(type(name) is str and not name.endswith(("original0", "_g", "_orig")) for name in made.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert plain(copy.deepcopy(made), EXAMPLE) == ()
    for zeros in (m for m in made.modules() if isinstance(m, nn.Conv2d)):
        zeros.weight.zero_()
        assert zeros(torch.randn(1, zeros.in_channels, 8, 8)).flatten(2).std(2).max() < 1e-6  # its bias alone


@torch.no_grad()
def test_a_module_of_ones_own_that_is_one_layer_and_zeros_at_first() -> None:
    given = nn.Sequential(nn.Flatten(2), nn.Linear(64, 8), Scaled(), nn.Flatten(), nn.Linear(24, 2)).eval()
    for parameter in given[4].parameters():
        nn.init.zeros_(parameter)
    weight = given[2].length * F.normalize(given[2].direction.weight)
    assert plain(given, EXAMPLE) == ("2",)
    assert type(given[2]) is nn.Linear
    assert torch.equal(given[2].weight, weight)


def test_networks_without_computed_weights_are_left_alone() -> None:
    given = network(nn.Conv2d(3, 8, 3))
    parameters = dict(given.named_parameters())
    assert plain(given, EXAMPLE) == ()
    assert all(parameter is parameters[name] for name, parameter in given.named_parameters())


def test_a_computed_weight_in_which_zeros_stay_may_stay() -> None:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Linear(192, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.normalize(x.flatten(1)), F.normalize(self.classes.weight))

    assert plain(Cosine(), EXAMPLE) == ()


def test_a_computed_weight_that_cannot_be_made_plain_is_refused() -> None:
    class Busy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.conv.weight - self.conv.weight.mean()
            return (F.conv2d(x, weight) * F.conv2d(x, weight.abs())).mean((2, 3))

    with pytest.raises(SourceError, match=r"Busy: .* computes its weight from conv\.weight .* zeros do not stay zero"):
        plain(Busy(), EXAMPLE)


def test_a_copy_of_a_network_that_keeps_what_it_computed() -> None:
    given = network(nn.utils.weight_norm(nn.Conv2d(3, 8, 3)))
    given(torch.zeros(1, 3, 8, 8))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(given)
    made = copy_of(given)
    with torch.no_grad():
        made[0].weight_g.mul_(2)
    assert not torch.equal(made[0].weight_g, given[0].weight_g)


def test_weights_in_either_form_are_read() -> None:
    trained = network(KINDS["weight norm"]()).eval()
    folded = copy_of(trained)
    plain(folded, EXAMPLE)
    images = torch.randn(2, 3, 8, 8)
    for form in (trained, folded):
        built = network(KINDS["weight norm"]()).eval()
        load_either_form(built, form.state_dict(), "here", EXAMPLE)
        plain(built, EXAMPLE)
        assert torch.allclose(built(images), trained(images), atol=1e-6)
    with pytest.raises(SourceError, match="original0"):
        load_either_form(network(KINDS["weight norm"]()), {"a.weight": torch.zeros(2)}, "here", EXAMPLE)
