"""Class scores alone: what is taken of several outputs, what one logit becomes, and that masks and copies keep it."""

from __future__ import annotations

import copy
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.inference.export import export_onnx
from seam.masks.groups import channel_groups
from seam.networks.plain import plain_scores
from seam.networks.scores import find_scores, give_all_scores, give_scores, shown_output

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Named = namedtuple("Named", "logits features")


@dataclass
class Held:
    features: Tensor
    logits: Tensor


class Net(nn.Module):
    """Five scores and sixteen features, put together by `form`."""

    def __init__(self, form: Any, outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear, self.form = nn.Conv2d(3, 16, 3), nn.Linear(16, outputs), form
        self.eval().requires_grad_(False)

    def scores(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x))  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        features = self.features(x)
        return self.form(self.linear(features), features)


FORMS: dict[str, Any] = {
    "mapping": lambda s, f: {"logits": s, "hidden": f},
    "named tuple": Named,
    "tuple": lambda s, f: (f, s),
    "list": lambda s, f: [s, f],
    "other names": lambda s, f: {"features": f[:, :, None], "pred": s},
    "attributes": lambda s, f: Held(features=f, logits=s),
    "further scores": lambda s, f: {"auxiliary": s + 1, "logits": s},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_class_scores_are_taken_in_every_mode_and_copy(form: str) -> None:
    network, names = Net(FORMS[form]), list(Net(FORMS[form]).state_dict())
    wanted = network.scores(IMAGES)
    taken = give_scores(network, IMAGES, 5)
    assert taken is not None
    assert str(taken).startswith("its output")
    for some in (network, copy.deepcopy(network), network.train()):
        assert torch.equal(some(IMAGES), wanted)
    assert list(network.state_dict()) == names
    assert type(network).__name__ == "Net"


@pytest.mark.parametrize("form", ["mapping", "named tuple", "tuple"])
def test_channels_are_found_and_removed_behind_several_outputs(form: str, tmp_path) -> None:
    network = Net(FORMS[form])
    network.conv.weight[::2] = 0
    network.conv.bias[::2] = 0
    with_all = compact(network, IMAGES)
    assert type(with_all.module(IMAGES)) is type(network(IMAGES)), "features are an output: all of them stay"
    assert not with_all.removed
    give_scores(network, IMAGES, 5)
    assert channel_groups(network, IMAGES).number == 16
    smaller = compact(network, IMAGES)
    assert smaller.removed == {"conv": 8}
    assert torch.allclose(smaller.module(IMAGES), network(IMAGES), atol=1e-6)
    assert export_onnx(smaller.module, IMAGES[:1], tmp_path / "scores.onnx") < 1e-5


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_one_logit_becomes_two_scores_whose_softmax_is_its_sigmoid(squeezed: bool, traced: bool) -> None:
    def form(logit: Tensor, features: Tensor) -> dict[str, Tensor]:
        return {"logits": logit.squeeze(1) if squeezed else logit}

    plain = Net(form, 1)
    network: nn.Module = fx.symbolic_trace(plain) if traced else copy.deepcopy(plain)
    give_scores(network, IMAGES, 2)
    found = copy.deepcopy(network)(IMAGES)
    assert torch.allclose(found.softmax(1)[:, 1], plain.scores(IMAGES).sigmoid().squeeze(1), atol=1e-6)
    if not traced:
        give_all_scores(network)
        assert torch.equal(network(IMAGES).reshape(3, 1), plain.scores(IMAGES))


def test_weights_that_are_computed_and_several_outputs_are_settled_at_once() -> None:
    network = Net(lambda s, f: {"hidden": f, "logits": s}, 1)
    nn.utils.parametrizations.weight_norm(network.conv)
    wanted = network.scores(IMAGES)
    plain_scores(network, IMAGES[:1], 2)
    assert "conv.weight" in dict(network.named_parameters())
    assert torch.allclose(network(IMAGES), torch.cat([-wanted, wanted], 1) / 2, atol=1e-6)


def test_one_logit_may_stay_one() -> None:
    network = Net(lambda s, f: (s, {}), 1)
    give_scores(network, IMAGES, one_logit=True)
    assert torch.equal(network(IMAGES), network.scores(IMAGES))


def test_what_could_be_either_is_left_as_it_is() -> None:
    scores, features = torch.zeros(3, 5), torch.zeros(3, 16)
    assert find_scores((scores, features), 3) is None, "not known which"
    assert find_scores((scores, scores), 3, 5) is None
    assert find_scores(scores[:, None], 3, 5) is None
    assert find_scores(scores.long(), 3, 5) is None
    assert find_scores({"logits": scores, "other": scores}, 3, 6) is None
    assert find_scores(torch.zeros(3, 1), 3, 5) is None, "one number for five classes"
    network = Net(lambda s, f: (s, s))
    assert give_scores(network, IMAGES, 5) is None
    assert type(network) is Net
    assert shown_output(network(IMAGES)) == "tuple of 0 (3, 5), 1 (3, 5)"


def test_a_network_that_gives_its_scores_is_not_touched() -> None:
    network = Net(lambda s, f: s)
    assert str(give_scores(network, IMAGES, 5)) == ""
    assert type(network) is Net
