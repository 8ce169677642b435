"""Students: the replaced classifier, its fit, and spatial dropout after every stage."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from seam.data.images import LabelledImages
from seam.errors import SourceError
from seam.networks.build import build
from seam.networks.source import Preprocess
from seam.networks.student import classifier_name, fit_classifier, student
from seam.training.spatial_dropout import spatial_dropout, stage_ends

PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3)


def squeezed() -> nn.Module:
    """Ends as SqueezeNet does: a 1x1 convolution, ReLU, mean over positions."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 8, 3, padding=1),
    )
    classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(features, classifier, nn.Flatten()).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_only_the_classifier_is_replaced(images: Tensor) -> None:
    source = build("resnet20", 10).eval()
    before = {k: v.clone() for k, v in source.state_dict().items()}
    made = student(source, images, 3, seed=4)
    assert made.classifier == "fc"
    assert made.replaced == "fc: Linear(in_features=64, out_features=10, bias=True)"
    assert made(images).shape == (5, 3)
    assert made.network.fc.weight.shape == (3, 64)
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert all(torch.equal(v, before[k]) for k, v in made.network.state_dict().items() if not k.startswith("fc."))
    features = source.avgpool(
        source.layer3(source.layer2(source.layer1(F.relu(source.bn1(source.conv1(images))))))
    ).flatten(1)
    assert torch.allclose(made(images), features @ made.network.fc.weight.T + made.network.fc.bias, atol=1e-5)
    assert {id(p) for p in made.body} | {id(p) for p in made.head.parameters()} == {id(p) for p in made.parameters()}
    assert len(made.body) == len(list(made.parameters())) - 2
    assert not made.training and all(p.requires_grad for p in made.parameters())


def test_the_fresh_classifier_follows_the_seed_alone(images: Tensor) -> None:
    source = build("resnet20", 10)
    state = torch.get_rng_state()
    first = student(source, images, 3, seed=4)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first.head.weight, student(source, images, 3, seed=4).head.weight)
    assert not torch.equal(first.head.weight, student(source, images, 3, seed=5).head.weight)
    assert 0.9 / 8 < float(first.head.weight.detach().abs().max()) <= 1 / 8  # uniform in +-1/sqrt(64)


def test_a_convolution_that_gives_the_scores_is_replaced_by_one(images: Tensor) -> None:
    source = squeezed()
    made = student(source, images, 3, seed=0)
    assert made.classifier == "1.1" and isinstance(made.head, nn.Conv2d)
    by_hand = torch.einsum("nchw,oc->nohw", source[0](images), made.head.weight[:, :, 0, 0]) + made.head.bias.view(
        1, 3, 1, 1
    )
    assert torch.allclose(made(images), by_hand.relu().mean((2, 3)), atol=1e-5)


def test_the_last_executed_layer_counts_not_the_last_defined(images: Tensor) -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(3, 4)
            self.conv = nn.Conv2d(3, 3, 3)
            self.unused = nn.Linear(9, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.conv(x).mean((2, 3)))

    assert classifier_name(Shuffled(), images) == "classifier"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            r"expected the last executed layer .* got '0', Conv2d.* for 4 classes",
        ),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.GLU()),
            r"got '2', Linear.* for 2 classes",
        ),
        (nn.Flatten(), "after 0 layers"),
        (nn.Conv2d(3, 4, 1), r"got scores of shape \(1, 4, 16, 16\)"),
        (nn.Linear(16, 4), r"got scores of shape"),
    ],
    ids=["3x3 convolution", "other width", "no layer", "an image", "positions"],
)
def test_a_network_without_such_a_layer_is_one_clear_line(network: nn.Module, message: str, images: Tensor) -> None:
    with pytest.raises(SourceError, match=message) as error:
        student(network, images, 3, seed=0)
    assert "\n" not in str(error.value)


def data(count: int = 60) -> LabelledImages:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 16, 16, 3), generator=generator).to(torch.uint8)
    return LabelledImages(pixels, torch.arange(count) % 3)


def cross_entropy_with_penalty(made: nn.Module, some: LabelledImages) -> Tensor:
    return F.cross_entropy(made(PREPROCESS(some.images)), some.labels) + 0.0005 * made.head.weight.square().sum()


@pytest.mark.parametrize("make", [lambda: build("resnet20", 10).eval(), squeezed], ids=["linear", "1x1 convolution"])
def test_the_fitted_classifier_is_the_optimum_given_the_rest(make: object, images: Tensor) -> None:
    torch.manual_seed(3)
    made, some = student(make(), images, 3, seed=0), data()
    before = {k: v.clone() for k, v in made.state_dict().items()}
    untrained = float(cross_entropy_with_penalty(made, some).detach())
    fit_classifier(made, PREPROCESS, some)
    loss = cross_entropy_with_penalty(made, some)
    made.zero_grad()
    loss.backward()
    assert made.head.weight.grad.abs().max() < 1e-4 and made.head.bias.grad.abs().max() < 1e-4
    assert float(loss.detach()) < untrained
    changed = {k for k, v in made.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {f"network.{made.classifier}.weight", f"network.{made.classifier}.bias"}


def test_features_that_are_not_finite_are_one_clear_line(images: Tensor) -> None:
    source = squeezed()
    with torch.no_grad():
        source[0][0].weight.fill_(float("nan"))
    with pytest.raises(SourceError, match=r"'1\.1': expected finite features"):
        fit_classifier(student(source, images, 3, seed=0), PREPROCESS, data())


def test_stages_of_torchvisions_resnets_are_their_four_layers() -> None:
    for name in ("resnet18", "resnet50"):
        assert stage_ends(get_model(name, weights=None), torch.zeros(1, 3, 64, 64)) == [
            "layer1",
            "layer2",
            "layer3",
            "layer4",
        ]


def test_stages_of_other_networks(images: Tensor) -> None:
    assert stage_ends(build("resnet20", 10), torch.zeros(1, 3, 32, 32)) == ["layer1", "layer2", "layer3"]
    vgg = build("vgg16_bn_cifar", 10)
    ends = stage_ends(vgg, torch.zeros(1, 3, 32, 32))
    assert [int(e.removeprefix("features.")) + 1 for e in ends] == [
        i for i, m in enumerate(vgg.features) if isinstance(m, nn.MaxPool2d)
    ]
    assert stage_ends(squeezed(), images) == [
        "1.0"
    ]  # two convolutions behind the pooling; the stem has one; the classifier is no stage

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build("resnet20", 10)
            self.backbone.fc = nn.Identity()
            self.top = nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.top(self.backbone(x))

    assert stage_ends(Wrapped(), torch.zeros(1, 3, 32, 32)) == ["backbone.layer1", "backbone.layer2", "backbone.layer3"]


def test_a_module_used_at_two_places_takes_no_dropout(images: Tensor) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, padding=1, stride=2),
            )
            self.relu = nn.ReLU()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.b(self.relu(self.a(x))))
            return self.fc(self.relu(self.c(x)).mean((2, 3)))

    assert stage_ends(Shared(), images) == ["b"]


def test_spatial_dropout_drops_whole_channels_in_training_only(images: Tensor) -> None:
    network = build("resnet20", 10).eval()
    clean = network(images)
    copied = copy.deepcopy(network)
    seen: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer3"):
        following = {"layer1": network.layer2[0].conv1, "layer2": network.layer3[0].conv1, "layer3": network.avgpool}[
            name
        ]
        following.register_forward_pre_hook(lambda module, inputs, name=name: seen.update({name: inputs[0].detach()}))
    with spatial_dropout(network, images, 0.5) as names:
        assert names == ["layer1", "layer2", "layer3"]
        assert torch.equal(network(images), clean)
        network.train()
        torch.manual_seed(0)
        network(images)
        for values in seen.values():
            zero = (values == 0).all(3).all(2)
            assert 0.2 < float(zero.float().mean()) < 0.8
        torch.manual_seed(1)
        assert not torch.equal(network(images), network(images))
    assert torch.equal(network(images), copied.train()(images))  # as it was
    with spatial_dropout(network, images, 0.0) as names:
        assert names == []


def test_a_network_without_stages_is_one_clear_line(images: Tensor) -> None:
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    with (
        pytest.raises(SourceError, match="expected two or more convolutions of one resolution in a row"),
        spatial_dropout(flat, images, 0.1),
    ):
        pass
