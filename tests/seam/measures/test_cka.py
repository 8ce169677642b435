"""CKA: its invariances, a reference computed by the definition, and segments by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seam.data.images import LabelledImages
from seam.errors import DataError, SourceError
from seam.measures.cka import cka, cka_of_blocks, cka_with_classes, runs
from tests.seam.blocks import Chain, drawn

BLOCKS = ("first", "wider", "rest.0", "rest.1")


def representation(count: int = 20, width: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def hsic(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate as Song et al. 2012 define it (equation 5): products of kernels without their diagonals."""
    n, ones = len(one), np.ones(len(one))
    k, l = (x @ x.T for x in (one, other))  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    terms = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float((terms - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))


def reference(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Of estimates averaged over batches, an image counting as any other."""
    mixed, one, other = (
        sum(len(x) * hsic(*pair) for x, y in batches for pair in [{"xy": (x, y), "xx": (x, x), "yy": (y, y)}[kind]])
        for kind in ("xy", "xx", "yy")
    )
    return mixed / np.sqrt(one * other)


def test_a_representation_is_like_itself_turned_shifted_and_scaled() -> None:
    x = representation()
    turn, _ = torch.linalg.qr(representation(7, 7, 3))
    for other in (x, x @ turn, 250 * x, x + 40, -0.001 * x @ turn - 3):
        assert cka(x, other) == pytest.approx(1, abs=1e-6)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1, 1])
    assert cka(x, stretched) < 0.9


def test_it_is_the_definition() -> None:
    for count in (4, 5, 33):
        x, y = representation(count), representation(count, 3, 1) + representation(count)[:, :3]
        wanted = reference([(x.double().numpy(), y.double().numpy())])
        assert cka(x, y) == pytest.approx(wanted, abs=1e-6)


def test_nothing_in_common_is_zero_on_average() -> None:
    """The biased estimate of the same is 0.5 and more."""
    found = [cka(representation(12, 40, 2 * i), representation(12, 40, 2 * i + 1)) for i in range(200)]
    assert abs(sum(found) / len(found)) < 0.02


def test_blocks_over_batches_are_the_sums_of_the_definition() -> None:
    network = drawn(Chain())
    images = torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    found = cka_of_blocks(network, BLOCKS, LabelledImages(images, torch.arange(30) % 4), nn.Identity(), 12)
    with torch.no_grad():
        values = [network.gate(network.stem(images))]
        for block in (network.first, network.wider, network.rest[0], network.rest[1]):
            values.append(block(values[-1]))
    flat = [v.flatten(1).double().numpy() for v in values]
    for i, a in enumerate(flat):
        for j, b in enumerate(flat):
            batches = [(a[at : at + 10], b[at : at + 10]) for at in (0, 10, 20)]
            assert float(found[i, j]) == pytest.approx(reference(batches), abs=1e-4)
    assert found.diagonal().tolist() == pytest.approx([1.0] * 5, abs=1e-9)
    assert torch.allclose(found, found.T, atol=1e-12)


@pytest.mark.parametrize("count", [4, 9, 13, 257])
def test_any_number_of_images_from_four_on(count: int) -> None:
    data = LabelledImages(torch.randn(count, 3, 8, 8), torch.arange(count) % 2)
    found = cka_of_blocks(drawn(Chain()), BLOCKS, data, nn.Identity(), 8)
    assert bool(torch.isfinite(found).all())


def test_beside_other_images_of_another_network() -> None:
    network, data = drawn(Chain()), LabelledImages(torch.randn(20, 3, 8, 8), torch.arange(20) % 4)
    same = cka_of_blocks(network, BLOCKS, data, nn.Identity(), 8, beside=(network, data))
    assert torch.allclose(same, cka_of_blocks(network, BLOCKS, data, nn.Identity(), 8))
    noisy = LabelledImages(data.images + torch.randn(20, 3, 8, 8), data.labels)
    other = cka_of_blocks(network, BLOCKS, data, nn.Identity(), 8, beside=(network, noisy))
    assert float(other[0, 0]) < 0.99


def test_values_that_say_the_class_are_like_the_classes() -> None:
    labels = torch.arange(40) % 4
    told = torch.eye(3)[labels.clamp(max=2)] * (labels < 3)[:, None]
    images = told[:, :, None, None].expand(-1, -1, 8, 8) + 0.01 * torch.randn(40, 3, 8, 8)
    noise = LabelledImages(torch.randn(40, 3, 8, 8), labels)
    network = drawn(Chain())
    likeness = cka_with_classes(network, BLOCKS, LabelledImages(images, labels), nn.Identity(), 40)
    assert likeness.shape == (5,) and float(likeness[0]) > 0.5
    assert float(cka_with_classes(network, BLOCKS, noise, nn.Identity(), 40).abs().max()) < 0.3


def test_segments_by_hand() -> None:
    near = torch.tensor(
        [
            [1.00, 0.95, 0.80, 0.10, 0.10],
            [0.95, 1.00, 0.93, 0.10, 0.10],
            [0.80, 0.93, 1.00, 0.20, 0.20],
            [0.10, 0.10, 0.20, 1.00, 0.91],
            [0.10, 0.10, 0.20, 0.91, 1.00],
        ]
    )
    assert runs(near, 0.9, "single") == ((0, 3), (3, 5))
    assert runs(near, 0.9, "complete") == ((0, 2), (2, 3), (3, 5))
    assert runs(near, 0.93, "single") == ((0, 2), (2, 3), (3, 4), (4, 5))  # above, not at
    assert runs(near, 0.0, "complete") == ((0, 5),)
    assert runs(torch.ones(1, 1), 0.9, "single") == ((0, 1),)


def test_what_is_not_enough_or_not_finite_is_one_line() -> None:
    network, labels = drawn(Chain()), torch.zeros(3).long()
    with pytest.raises(DataError, match=r"^CKA without bias: expected at least 4 images, got 3; give more\.$"):
        cka_of_blocks(network, BLOCKS, LabelledImages(torch.randn(3, 3, 8, 8), labels), nn.Identity(), 8)
    with pytest.raises(DataError, match="at least 4 images at once, got 2"):
        cka(representation(2), representation(2))
    with pytest.raises(SourceError, match="NaN or infinite"):
        cka(torch.full((5, 2), torch.nan), representation(5))
    assert cka(torch.ones(5, 2), representation(5)) == 0.0
