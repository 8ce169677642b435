"""Modules out of masks and heads, alone and beside each other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seam.composition.composed import PULLS, Composed, read_out
from seam.composition.heads import HEADS, Heads, LinearHead, ReadOut, make_head
from seam.composition.module import Module, Piece, Takes, extract, groups_for, whole, without_head
from seam.errors import MaskError
from seam.masks.gate import Gated
from seam.masks.kernels import kernel_masks
from seam.masks.masks import apply_masks, maskable
from seam.networks.source import Preprocess
from tests.seam.composition.networks import IMAGES, KINDS, OUTPUTS, groups_and_some, seeded

EVERY = pytest.mark.parametrize("kind", KINDS)
TAKES = Takes((3, 16, 16), None, None)


def part(network: nn.Module, index: int, head: nn.Module, seed: int = 0) -> Module:
    groups, kept = groups_and_some(network, seed)
    return extract(network, Piece(kernel_masks(groups, kept), head), groups, TAKES, str(index))


@EVERY
@pytest.mark.parametrize("head", HEADS)
def test_a_module_is_its_source_under_its_gates_with_its_head(kind: str, head: str) -> None:
    network, before = seeded(kind), copy.deepcopy(seeded(kind).state_dict())
    groups, kept = groups_and_some(network)
    own = make_head(head, OUTPUTS, 2)
    module = part(network, 2, own)
    expected = own(Gated(network, groups, IMAGES)(IMAGES, kept[None].float())[0])[:, 0]
    assert module(IMAGES).shape == (6,)
    assert torch.allclose(module(IMAGES), expected, atol=1e-5)
    assert sum(p.numel() for p in module.parameters()) < sum(p.numel() for p in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@EVERY
def test_modules_that_keep_everything_are_the_source(kind: str) -> None:
    network = seeded(kind)
    groups, _ = groups_and_some(network)
    pieces = [whole(network, groups, OUTPUTS, i) for i in range(OUTPUTS)]
    parts = [extract(network, piece, groups, TAKES, str(i)) for i, piece in enumerate(pieces)]
    composed = Composed([p.network for p in parts], IMAGES)
    assert torch.allclose(composed(IMAGES), network(IMAGES), atol=1e-5)
    # The network is computed once: the only layers beyond its own are the single rows of the last one.
    assert sum(p.numel() for p in composed.parameters()) < 1.05 * sum(p.numel() for p in network.parameters())


def test_a_module_of_single_weights_needs_no_groups() -> None:
    network = seeded("concatenating")
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in maskable(network).items()}
    piece = Piece(masks, ReadOut(OUTPUTS, 1))
    assert groups_for(network, piece, IMAGES) is None
    masked = copy.deepcopy(network)
    apply_masks(masked, masks)
    found = extract(network, piece, None, TAKES, "1")(IMAGES)
    assert torch.allclose(found, masked(IMAGES)[:, 1], atol=1e-5)


def test_masks_of_another_network_are_refused() -> None:
    network, other = seeded("residual"), seeded("concatenating")
    groups, kept = groups_and_some(other)
    piece = Piece(kernel_masks(groups, kept), ReadOut(OUTPUTS, 0))
    with pytest.raises(MaskError):
        extract(network, piece, groups_and_some(network)[0], TAKES, "0")


@pytest.mark.parametrize("kind", ["linear", "two_layers"])
def test_heads_side_by_side_are_the_heads(kind: str) -> None:
    torch.manual_seed(0)
    heads = Heads(kind, OUTPUTS)
    logits = torch.randn(2, 5, OUTPUTS)
    scores = heads(logits, torch.tensor([3, 1]))
    for row, index in enumerate((3, 1)):
        assert torch.allclose(scores[row], heads.head(index)(logits[row])[:, 0], atol=1e-6)
        assert torch.allclose(scores[row] + 2, heads.head(index, 2.0)(logits[row])[:, 0], atol=1e-6)


def test_a_linear_head_begins_as_the_output_of_the_class() -> None:
    logits = torch.randn(5, OUTPUTS)
    assert torch.equal(LinearHead(OUTPUTS, 2)(logits), ReadOut(OUTPUTS, 2)(logits))
    for kind, index in (("linear", 4), ("read_out", -1), ("cubic", 0)):
        with pytest.raises(MaskError):
            make_head(kind, OUTPUTS, index)


def test_what_a_network_takes_is_known_by_its_numbers() -> None:
    preprocess = Preprocess((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    takes = Takes.of(preprocess, IMAGES)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(takes.preprocess()(images), preprocess(images))
    assert takes == Takes.of(takes.preprocess(), IMAGES) != Takes.of(Preprocess((0.4,) * 3, (0.2,) * 3), IMAGES)
    assert Takes.of(nn.Identity(), IMAGES) == TAKES


def test_a_read_out_uses_what_modules_say_of_images_of_other_sources() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (3000,), generator=generator)
    seen = torch.randn(3000, 3, generator=generator)
    seen[torch.arange(3000), labels] += 2.0
    confused = seen @ torch.tensor([[1.0, 0.0, 0.9], [0.0, 5.0, 0.0], [0.0, 0.9, 1.0]])  # images of others excite them
    made = read_out(confused, labels, 3)
    right = [float((s.argmax(1) == labels).double().mean()) for s in (seen, confused, made(confused))]
    assert right[1] < right[0] - 0.05 and right[2] > right[0] - 0.01
    assert torch.equal(made.weight, read_out(confused, labels, 3).weight)


def test_a_read_out_is_pulled_the_harder_the_less_columns_say() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(images: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(images) % 3
        columns = torch.randn(images, 40, generator=generator)
        columns[torch.arange(images), labels] += 1.5  # three columns of 40 know
        return columns, labels

    (said, labels), (new, of) = drawn(90), drawn(3000)

    def right(made: nn.Module) -> float:
        return float((made(new).argmax(1) == of).double().mean())

    chosen, loose, tight = (read_out(said, labels, 3, pulls) for pulls in (PULLS, PULLS[:1], (1e4,)))
    assert right(chosen) > right(loose)
    assert float(tight.weight.abs().max()) < 1e-3 < float(chosen.weight.abs().max())
    constant = torch.cat([said, torch.ones(90, 1)], 1)  # a column that never changes
    assert bool(read_out(constant, labels, 3)(constant).isfinite().all())


@EVERY
def test_a_module_without_its_head_says_what_the_head_reads(kind: str) -> None:
    network = seeded(kind)
    groups, kept = groups_and_some(network)
    piece = Piece(kernel_masks(groups, kept), make_head("two_layers", OUTPUTS, 1))
    headless = without_head(network, piece, groups, TAKES)
    assert headless(IMAGES).shape == (6, OUTPUTS)
    whole_module = extract(network, piece, groups, TAKES, "1")
    assert torch.allclose(piece.head(headless(IMAGES))[:, 0], whole_module(IMAGES), atol=1e-5)
