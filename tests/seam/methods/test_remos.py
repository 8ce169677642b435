"""The slice of ReMoS against a slow implementation of the published rule, weight by weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seam.configs.methods import RemosConfig, TransferConfig
from seam.configs.runtime import RuntimeConfig
from seam.data.images import LabelledImages
from seam.methods.protocol import Target
from seam.methods.remos import active_channels, coverage_profile, coverage_ranks, kernel_scores, slice_masks, start
from seam.networks.source import Preprocess
from seam.runtime import start as start_runtime

RUNTIME = start_runtime(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3)


class Grouped(nn.Module):
    """A plain, a grouped, a depthwise and a strided 1x1 convolution, with BatchNorm and ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=4, bias=False)
        self.depthwise = nn.Conv2d(12, 12, 5, padding=2, groups=12)
        self.pointwise = nn.Conv2d(12, 6, 1, stride=2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.bn(self.plain(x)).relu())
        return self.fc(self.pointwise(self.depthwise(x).relu()).mean((2, 3)))


def data(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 8, 8, 3), generator=generator) * torch.rand(
        count, 1, 1, 3, generator=generator
    )
    return LabelledImages(pixels.to(torch.uint8), torch.arange(count) % 4)


@pytest.fixture
def source() -> nn.Module:
    torch.manual_seed(0)
    network = Grouped()
    network(torch.randn(64, 3, 8, 8))  # statistics of BatchNorm
    network.grouped.weight.data[0, 0] = network.grouped.weight.data[5, 1]  # weights of equal size
    network.plain.bias.data = torch.linspace(-1, 1, 8)  # channels that are active more or less often
    return network.eval()


def is_active(image: Tensor, channel: int, threshold: float) -> bool:
    """One channel of one image's (C, H, W) values, as published."""
    values = image.flatten().tolist()
    low, high = min(values), max(values)
    scaled = [(v - low) / (high - low) for v in image[channel].flatten().tolist()]
    return sum(scaled) / len(scaled) > threshold


def counts_by_hand(network: Grouped, x: Tensor, threshold: float) -> dict[str, tuple[list[int], list[int]]]:
    """How often each input and output channel is active, by running the layers one after another."""
    after_bn = network.bn(network.plain(x)).relu()
    passes = {
        "plain": (x, network.plain(x)),
        "grouped": (after_bn, network.grouped(after_bn)),
        "depthwise": (network.grouped(after_bn), network.depthwise(network.grouped(after_bn))),
        "pointwise": (
            network.depthwise(network.grouped(after_bn)).relu(),
            network.pointwise(network.depthwise(network.grouped(after_bn)).relu()),
        ),
    }
    return {
        name: tuple(
            [sum(is_active(image, c, threshold) for image in values) for c in range(values.shape[1])] for values in both
        )
        for name, both in passes.items()
    }


def removed_by_hand(
    network: Grouped, counts: dict[str, tuple[list[int], list[int]]], ratio: float
) -> set[tuple[str, int, int, int, int]]:
    """The published rule in loops: kernels sorted by score, weights by size, the lowest differences removed."""
    kernels = []
    weights = []
    for position, name in enumerate(counts):
        layer = getattr(network, name)
        c_in, c_out = counts[name]
        outputs, inputs_of_group, rows, columns = layer.weight.shape
        for o in range(outputs):
            group = o // (outputs // layer.groups)
            for j in range(inputs_of_group):
                kernels.append((c_in[group * inputs_of_group + j] + c_out[o], position, o, j, rows * columns))
                weights += [
                    (abs(layer.weight[o, j, r, c].item()), (name, o, j, r, c))
                    for r in range(rows)
                    for c in range(columns)
                ]
    coverage_rank = {}
    preceding = 0
    for _, position, o, j, size in sorted(kernels, key=lambda k: k[0]):
        coverage_rank[list(counts)[position], o, j] = preceding
        preceding += size
    magnitude_rank = {key: rank for rank, (_, key) in enumerate(sorted(weights, key=lambda w: w[0]))}
    final = {key: coverage_rank[key[:3]] - magnitude_rank[key] for _, key in weights}
    boundary = sorted(final.values())[int(len(final) * ratio)]
    return {key for key, value in final.items() if not value > boundary}


@pytest.mark.parametrize(("ratio", "threshold"), [(0.1, 0.5), (0.03, 0.5), (0.5, 0.4)])
def test_the_slice_is_the_published_one_weight_by_weight(source: Grouped, ratio: float, threshold: float) -> None:
    target = Target(data(21, 1), data(4, 2), PREPROCESS, 4)
    config = TransferConfig(remos=RemosConfig(ratio=ratio, threshold=threshold, batch_size=8))
    counts = counts_by_hand(source, PREPROCESS(target.train.images), threshold)
    assert len({c for both in counts.values() for side in both for c in side}) > 5  # channels differ
    wanted = removed_by_hand(source, counts, ratio)
    begin = start(source, target, config, RUNTIME, 0)
    got = {
        (name.removesuffix(".weight"), *index)
        for name, mask in begin.masks.items()
        for index in (~mask).nonzero().tolist()
    }
    assert got == wanted
    assert set(begin.masks) == {"plain.weight", "grouped.weight", "depthwise.weight", "pointwise.weight"}
    for name, mask in begin.masks.items():
        weight = begin.student.network.get_parameter(name)
        assert torch.equal(weight, source.get_parameter(name) * mask)
    assert removed_by_hand(source, counts, ratio + 0.01) != wanted  # the comparison can fail


def test_the_profile_counts_every_image_once_whatever_the_batch_size(source: Grouped) -> None:
    x = PREPROCESS(data(21, 1).images)
    layers = {name: m for name, m in source.named_modules() if isinstance(m, nn.Conv2d)}
    counts = counts_by_hand(source, x, 0.5)
    for size in (1, 8, 21):
        profile = coverage_profile(source, layers, x.split(size), 0.5)
        assert {name: tuple(c.tolist() for c in both) for name, both in profile.items()} == counts
    assert int(profile["plain"][1][7]) > int(profile["plain"][1][0])
    assert not source.plain._forward_hooks


def test_a_channel_is_active_above_the_threshold() -> None:
    values = torch.tensor([[[[0.0, 4.0]], [[2.0, 2.0]], [[3.0, 2.0]]], [[[7.0, 7.0]], [[7.0, 7.0]], [[7.0, 7.0]]]])
    assert active_channels(values, 0.5).tolist() == [
        [False, False, True],
        [False, False, False],
    ]  # 0.5, 0.5, 0.625; then nothing to scale


def test_kernels_of_a_grouped_convolution_read_their_own_group() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2)
    scores = kernel_scores(layer, torch.tensor([1, 2, 10, 20]), torch.tensor([100, 200, 300, 400]))
    assert scores.tolist() == [[101, 102], [201, 202], [310, 320], [410, 420]]


def test_coverage_ranks_count_the_weights_before_a_kernel() -> None:
    ranks = coverage_ranks(torch.tensor([5, 1, 5, 0]), torch.tensor([2, 3, 1, 2]))
    assert ranks.tolist() == [5, 5, 2, 2, 2, 7, 0, 0]  # equal scores: the first comes first


def test_ranks_are_exact_where_float32_is_not() -> None:
    ranks = coverage_ranks(torch.tensor([2, 1, 0]), torch.tensor([1, 1, 2**24 + 1]))
    assert ranks[:2].tolist() == [2**24 + 2, 2**24 + 1] and ranks.dtype == torch.int64


def test_large_weights_of_an_unused_kernel_go_first() -> None:
    layer = nn.Conv2d(1, 2, 2, bias=False)
    layer.weight.data = torch.tensor([[[[0.1, -0.9], [0.2, 0.3]]], [[[0.8, 0.4], [-1.0, 0.5]]]])
    profile = {"c": (torch.tensor([0]), torch.tensor([1, 7]))}
    removed = ~slice_masks({"c": layer}, profile, 0.1)["c.weight"]
    assert removed.nonzero().tolist() == [[0, 0, 0, 1]]  # rank 0 - 6; the others of that kernel have -0, -1, -2


def test_a_large_slice_removes_its_ratio() -> None:
    torch.manual_seed(0)
    layers = {f"c{i}": nn.Conv2d(256, 128, 3) for i in range(2)}
    profile = {name: (torch.randint(0, 5000, (256,)), torch.randint(0, 5000, (128,))) for name in layers}
    for ratio in (0.03, 0.1, 0.7):
        masks = slice_masks(layers, profile, ratio)
        assert set(masks) == {"c0.weight", "c1.weight"}
        removed = sum(int((~m).sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
        assert ratio < removed < ratio + 1e-4
