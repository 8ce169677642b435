"""Weights and multiply-adds, against counts made by hand."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from seam.compaction.norms import of_some
from seam.errors import SearchError, SuspectResultWarning
from seam.measures.macs import count, weight_macs
from seam.networks.build import build


class Tiny(nn.Module):
    """Convolution with bias, grouped convolution with stride 2, BatchNorm, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 5)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.bn(self.grouped(self.conv(x)).relu())).flatten(1))


IMAGE = torch.zeros(1, 3, 8, 8)
CONV = 4 * 3 * 9 * 8 * 8  # weights of conv * output positions
GROUPED = 6 * 2 * 9 * 4 * 4  # 4 / 2 input channels a group, output 4 x 4
FC = 6 * 5
REST = 2 * 6 * 4 * 4 + 6 * 4 * 4  # BatchNorm: scale and shift; average pooling: one an input


def test_dense_counts_equal_those_made_by_hand() -> None:
    counts = count(Tiny(), IMAGE)
    assert counts.params_total == (4 * 3 * 9 + 4) + 6 * 2 * 9 + (6 * 5 + 5)
    assert counts.params_nonzero == counts.params_total
    assert counts.density == 1.0
    assert counts.macs_dense == counts.macs_nonzero == CONV + GROUPED + FC + REST


def test_a_zero_weight_saves_its_multiply_adds_and_a_zero_bias_none() -> None:
    net = Tiny()
    with torch.no_grad():
        net.conv.weight[0] = 0  # 27 weights
        net.conv.bias[:2] = 0
        net.grouped.weight[1, 0, 0] = 0  # 3 weights
        net.fc.weight[:, 3] = 0  # 5 weights
    counts = count(net, IMAGE)
    total = 112 + 108 + 35
    assert counts.params_total == total
    assert counts.params_nonzero == total - 27 - 2 - 3 - 5
    assert counts.density == (total - 37) / total
    assert counts.macs_dense == CONV + GROUPED + FC + REST
    assert counts.macs_nonzero == counts.macs_dense - 27 * 64 - 3 * 16 - 5


def test_the_network_is_left_as_it_was() -> None:
    net = Tiny().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    count(net, torch.ones(4, 3, 8, 8))
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not any(p.grad is not None for p in net.parameters())


def test_counts_are_for_one_image_whatever_the_batch() -> None:
    assert count(Tiny(), IMAGE.expand(7, -1, -1, -1)) == count(Tiny(), IMAGE)


def test_a_module_called_twice_counts_twice() -> None:
    shared = nn.Linear(3, 3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), shared, shared)
    with torch.no_grad():
        net[1].weight.fill_(1)
        shared.weight.fill_(1)
        shared.weight[0, 0] = 0
    counts = count(net, IMAGE)
    assert counts.macs_dense == 576 + 2 * 9
    assert counts.macs_nonzero == 576 + 2 * 8


@pytest.mark.parametrize(
    ("architecture", "classes", "side", "weights", "millions", "within"),
    [
        ("resnet20", 10, 32, 270_906, 41.22, 0.005),
        ("resnet20", 100, 32, 276_756, 41.22, 0.01),
        ("vgg16_bn_cifar", 10, 32, 15_245_130, 314.28, 0.005),
        ("vgg16_bn_cifar", 100, 32, 15_291_300, 314.33, 0.01),
        ("torchvision:resnet50", 1000, 224, 25_503_912, 4111.5, 0.05),
    ],
)
def test_the_papers_networks_have_its_weights_and_multiply_adds(
    architecture: str, classes: int, side: int, weights: int, millions: float, within: float
) -> None:
    counts = count(build(architecture, classes), torch.zeros(1, 3, side, side))
    assert counts.params_total == weights
    assert counts.macs_dense / 1e6 == pytest.approx(millions, abs=within)


def test_a_shortcut_without_weights_saves_its_convolutions() -> None:
    with_weights, without = (count(build(name, 10), torch.zeros(1, 3, 32, 32)) for name in ("resnet20", "resnet20_a"))
    assert without.params_total == with_weights.params_total - 16 * 32 - 32 * 64
    projections = 16 * 32 * 16 * 16 + 32 * 64 * 8 * 8
    assert without.macs_dense == with_weights.macs_dense - projections - 2 * (
        32 * 16 * 16 + 64 * 8 * 8
    )  # and their BatchNorms


class Attention(nn.Module):
    """Three tokens (the channels) of four features."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2)[..., :4]
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


@torch.no_grad()
def test_attention_by_hand() -> None:
    network = Attention()
    projections, scores = 3 * (3 * 4 * 4 + 4 * 4), 2 * 3 * 3 * 4
    assert count(network, IMAGE).macs_dense == projections + scores
    network.attention.in_proj_weight[:4] = 0
    network.attention.out_proj.weight[0, 0] = 0
    assert count(network, IMAGE).macs_nonzero == projections + scores - 3 * (4 * 4 + 1)
    assert weight_macs(network, IMAGE) == {"attention.in_proj_weight": 3.0, "attention.out_proj.weight": 3.0}


class Recurrent(nn.Module):
    """A sequence of three: an LSTM, a GRU that is read in both directions, a linear layer on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 2, batch_first=True)
        self.gru = nn.GRU(2, 3, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(self.lstm(x.flatten(2)[..., :4])[0])[0][:, -1])


def test_recurrent_layers_by_hand() -> None:
    lstm, gru = 4 * 2 * (4 + 2), 2 * 3 * 3 * (2 + 3)  # gates * state * (input + state)
    network = Recurrent()
    counts = count(network, IMAGE)
    assert counts.macs_dense == counts.macs_nonzero == 3 * (lstm + gru) + 12
    assert counts.params_maskable == counts.params_total == sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        network.lstm.weight_hh_l0[0] = 0
        network.gru.weight_ih_l0_reverse[:, 1] = 0
    assert count(network, IMAGE).macs_nonzero == counts.macs_dense - 3 * (2 + 9)
    assert set(weight_macs(network, IMAGE).values()) == {1.0, 3.0}


@pytest.mark.parametrize("trains", [True, False])
def test_a_frozen_transformer_counts_as_one_that_trains(trains: bool) -> None:
    network = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 128, batch_first=True))
    counts = count(network.requires_grad_(trains), IMAGE)  # three tokens of 64 features
    norms = 2 * 5 * 3 * 64
    by_hand = 3 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 3 * 3 * 64
    assert by_hand <= counts.macs_dense <= by_hand + norms


@pytest.mark.parametrize("norm", [nn.LayerNorm(64), nn.LayerNorm(64, elementwise_affine=False), nn.GroupNorm(1, 3)])
def test_a_norm_of_some_channels_counts_as_one_of_torch(norm: nn.Module) -> None:
    channels = 3 if isinstance(norm, nn.GroupNorm) else 64
    written = of_some(norm, torch.ones(channels, dtype=torch.bool))
    of_torch, ours = (count(nn.Sequential(nn.Flatten(2), n, nn.Linear(64, 2)), IMAGE) for n in (norm, written))
    assert ours == of_torch
    assert ours.macs_dense > 3 * 64 * 2


def test_two_layers_with_one_tensor_count_it_once_and_multiply_twice() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 3, 3, padding=1, bias=False))
    network[1].weight = network[0].weight
    with torch.no_grad():
        network[0].weight.fill_(1)[0, 0, 0, 0] = 0
    counts = count(network, IMAGE)
    assert (counts.params_total, counts.params_nonzero) == (81, 80)
    assert (counts.macs_dense, counts.macs_nonzero) == (2 * 81 * 64, 2 * 80 * 64)
    assert weight_macs(network, IMAGE) == {"0.weight": 128.0}


def test_weights_outside_the_mask_are_counted() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position, self.fc, self.norm = nn.Parameter(torch.ones(192)), nn.Linear(192, 2), nn.LayerNorm(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.fc(x.flatten(1) + self.position))

    counts = count(Positions(), IMAGE)
    assert (counts.params_total, counts.params_maskable) == (192 + 386, 386)


def test_uncounted_multiplications_are_reported() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), Squared())
    with pytest.warns(SuspectResultWarning, match="multiply-adds leave out aten::"):
        count(network, IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SuspectResultWarning)
        count(Tiny(), IMAGE)


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Bilinear(3, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pairs(x, x)


def test_a_network_without_weights_is_refused() -> None:
    with pytest.raises(SearchError, match="no convolution, linear, attention or recurrent"):
        count(nn.Sequential(nn.Flatten()), IMAGE)
