"""The check-up: a sound network passes, and each fault is found, named, and found in the copy alone."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision.models import VisionTransformer

from seam.errors import SourceError, SuspectResultWarning
from seam.measures.check_up import check_up
from seam.measures.findings import Finding, judge
from seam.networks.build import build

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Base(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, 16, 3), nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 4)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x: Tensor) -> object:
        return self.linear(self.features(x))


def test_a_network_is_run_no_more_than_its_questions_need() -> None:
    batches: list[int] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if type(module).__name__ == "Mapping":
            batches.append(len(given[0]))

    with register_module_forward_pre_hook(note):
        check_up(Mapping(), IMAGES, 4)
    given, again, alone, training = 3, 3, 1, 3
    made_plain, exported, compared = 2, 1, 3
    assert batches == [given, again, alone, training, made_plain, exported, compared]


class Auxiliary(Base):
    def forward(self, x: Tensor) -> object:
        scores = super().forward(x)
        return (scores, scores) if self.training else scores


class Mapping(Base):
    def forward(self, x: Tensor) -> object:
        return {"logits": super().forward(x), "images": x}


class Twice(Base):
    def forward(self, x: Tensor) -> object:
        return {"one": super().forward(x), "two": super().forward(x)}


class Dropped(Base):
    def forward(self, x: Tensor) -> object:
        return self.linear(F.dropout(self.features(x)))


class OfBatch(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(16, track_running_stats=False)


class OfBatchAfterPooling(Base):
    """One image has one value a channel, of which there is no variance."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm1d(16, track_running_stats=False)

    def features(self, x: Tensor) -> Tensor:
        return self.last(super().features(x))  # type: ignore[no-any-return]


class AlwaysTraining(Base):
    def train(self, mode: bool = True) -> AlwaysTraining:
        super().train(mode)
        self.norm.train()
        return self


class ThreeImages(Base):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).view(3, 16)


class InPlace(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x.mul_(2))


class Counting(Base):
    """It keeps how often it was called."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> object:
        self.calls.add_(1)
        return super().forward(x * self.calls)


class Decides(Base):
    """Doubled or not by what is in the images."""

    def features(self, x: Tensor) -> Tensor:
        features = super().features(x)
        return features * 2 if features.max() > 1e3 else features


class Half(Base):
    def __init__(self) -> None:
        super().__init__()
        self.half()


class OtherArgument(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward({"images": x}["pixel_values"])


class OneByOne(Base):
    """It goes through the images of a batch in a loop."""

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([super(OneByOne, self).features(image[None]) for image in x])


class Scripted(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.jit.script(self.conv)  # type: ignore[assignment]


class SingularValues(Base):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + torch.linalg.svdvals(x[:, 0])[:, :16]


class Mixed(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x - x.mean(0, keepdim=True))


class Probabilities(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x).softmax(1)  # type: ignore[attr-defined]


class ProbabilityOfEach(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x).sigmoid()  # type: ignore[attr-defined]


class LogProbabilities(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x).log_softmax(1)  # type: ignore[attr-defined]


class Positions(Base):
    """Something of its own is added to what the convolution gives."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(20_000))

    def forward(self, x: Tensor) -> object:
        return super().forward(x + self.position.mean())


class Endless(Base):
    def forward(self, x: Tensor) -> object:
        return super().forward(x) / 0


class Broken(Base):
    def forward(self, x: Tensor) -> object:
        if self.training:
            raise KeyError("targets")
        return super().forward(x)


BAD = {
    Auxiliary: (
        "training",
        "stop",
        r"alone while it trains, got tuple of 0 \(3, 4\), 1 \(3, 4\); .*aux_logits=False",
    ),
    Twice: (
        "scores",
        "stop",
        r"scores of shape \(3, 4\), got dict of one \(3, 4\), two \(3, 4\); .*'logits'",
    ),
    Dropped: ("repeated", "stop", r"F\.dropout\(x\) without training=self\.training"),
    OfBatch: ("alone", "stop", r"norm is a BatchNorm with track_running_stats=False"),
    OfBatchAfterPooling: ("alone", "stop", r"last is a BatchNorm with track_running_stats=False"),
    AlwaysTraining: ("alone", "stop", r"norm is a BatchNorm that network\.eval\(\) leaves in training mode"),
    ThreeImages: ("alone", "stop", r"does not take one image alone: .*; take the batch from the images' shape"),
    Mixed: ("alone", "stop", r"something mixes images of a batch"),
    InPlace: ("input", "stop", r"changes the images that it is given, by an operation in place"),
    Counting: ("repeated", "stop", r"something is kept from one call to the next"),
    Half: (
        "input",
        "stop",
        r"'conv\.weight' is torch\.float16, the images are torch\.float32; call network\.float\(\)",
    ),
    OtherArgument: ("input", "stop", r"its forward fails on a batch of images: KeyError: 'pixel_values'"),
    Endless: ("scores", "stop", r"got NaN or infinite ones"),
    Broken: ("training", "stop", r"cannot be run in training mode: 'targets'"),
    OneByOne: ("export", "stop", r"for any batch size, got .*; take the batch from the images' shape"),
    Scripted: ("layers", "stop", r"conv: expected layers in Python, got one compiled as TorchScript"),
    SingularValues: ("export", "stop", r"does not export to ONNX.*linalg_svdvals"),
    Probabilities: ("scores", "doubt", r"probabilities, not logits"),
    ProbabilityOfEach: ("scores", "doubt", r"probabilities, not logits"),
    Decides: (
        "channels",
        "doubt",
        r"by the content of images in line \d+ of test_check_up\.py, .*, and a file of it goes one way for all images",
    ),
    Positions: ("weights", "doubt", r"516 of 20,516 weights can be masked \(3%\).*: position \(Positions\) 20,000\."),
}


def found_in(network: nn.Module) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_up(network, IMAGES, 4)}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_a_fault_is_found_and_named(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = kind()
    before, drawn = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    images = IMAGES.clone()
    what, verdict, words = BAD[kind]
    found = found_in(network)
    assert found[what].verdict == verdict
    assert {f.what for f in found.values() if f.verdict != "ok"} == {what}
    if verdict == "stop":
        assert list(found)[-1] == what, "nothing is looked at after it"
        with pytest.raises(SourceError, match=f"shop: .*{words}") as caught:
            judge(list(found.values()), "shop")
        assert "\n" not in str(caught.value)
    else:
        with pytest.warns(SuspectResultWarning, match=words):
            judge(list(found.values()), "shop")
        assert re.search(words, found[what].found)
    assert network.training
    assert torch.equal(IMAGES, images)
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("kind", [Base, LogProbabilities, Mapping], ids=lambda kind: kind.__name__)
def test_a_sound_network_passes(kind: type[nn.Module]) -> None:
    found = found_in(kind())
    assert {f.verdict for f in found.values()} == {"ok"}
    assert list(found) == ["input", "scores", "repeated", "alone", "training", "weights", "channels", "export"]
    assert found["weights"].found == "516 of 516 weights can be masked (100%)"
    assert found["channels"].found == "16 of 20 channels can go, 0 layers whole"


def test_a_network_of_other_channels() -> None:
    with pytest.raises(SourceError, match=r"takes images of 3 channels, got one of 1; give images of 1 channels"):
        judge(check_up(Base(channels=1), IMAGES, 4), "shop")


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_of_torchvision_with_auxiliary_heads_are_built_without(name: str) -> None:
    network = build(f"torchvision:{name}", 4)
    assert not any("aux" in n.lower() for n, _ in network.named_parameters())


def test_a_vision_transformer_exports() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=4)
    found = found_in(network)
    assert found["export"].verdict == "ok"
    assert torch.backends.mha.get_fastpath_enabled()


def test_one_logit_is_two_classes_and_a_probability_is_none() -> None:
    network = Base()
    network.linear = nn.Linear(16, 1)
    found = {finding.what: finding for finding in check_up(network, IMAGES, 2)}
    assert found["scores"].found == "one logit, of the second class against the first"
    assert {f.verdict for f in found.values()} == {"ok"}
    found = {finding.what: finding for finding in check_up(nn.Sequential(network, nn.Sigmoid()), IMAGES, 2)}
    assert found["scores"].verdict == "stop"
    assert "leave out its sigmoid" in found["scores"].found


class Token(Base):
    """Something learnt is added for every image, as many times as `len` says."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 16))

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + self.token.expand(len(x), -1)


def test_what_only_the_network_as_it_is_followed_exports_is_no_fault() -> None:
    assert found_in(Token())["export"].found == "exports to ONNX, whose runtime computes the same"
