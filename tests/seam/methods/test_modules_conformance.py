"""What every method that makes modules must do; a new row of the catalogue is judged here too."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from seam.composition.composed import Composed
from seam.composition.module import Module, Piece, Takes, extract, full_masks, groups_for, masked
from seam.composition.pack import Pack, load_pack, save_pack
from seam.configs.modules import SEAM, CnnSplitterConfig, DecompositionConfig, GradSplitterConfig, ModulesConfig
from seam.data.images import LabelledImages
from seam.errors import ConfigError, NoChannelsError
from seam.masks.kernels import is_of_kernels
from seam.masks.masks import maskable
from seam.methods.catalogue import MODULES, Method, names
from seam.methods.modules import Classes, modularize
from seam.networks.predict import accuracy, predict
from tests.seam.composition.networks import Concatenating, Residual, dense
from tests.seam.door.stripes import CLASSES, fitted, floats
from tests.seam.methods.small import RUNTIME

EVERY = pytest.mark.parametrize("method", MODULES, ids=names(MODULES))
SPLIT = GradSplitterConfig(
    cycles=1,
    mask_passes=5,
    settle_passes=1,
    batch_size=32,
    lr_scores=0.06,
    lr_head=0.001,
    val_images=40,
    tolerance=0.3,
    caution=0.0,
    shared=0.0,
)
GENES = CnnSplitterConfig(population=6, generations=3, images=40, confidence=0.5)
CONFIG = ModulesConfig(
    gradsplitter=SPLIT,
    cnnsplitter=GENES,
    seam_modules=replace(SEAM, target=0.5, max_rounds=2, batch_size=32, augment="none"),
    decomposition=DecompositionConfig(confidence=0.5),
)
KINDS = {"residual": Residual, "concatenating": Concatenating, "dense": dense}
NETWORK = pytest.mark.parametrize("kind", KINDS)
TAKES = Takes((3, 16, 16), None, None)


@cache
def _trained(kind: str) -> nn.Module:
    torch.manual_seed(0)
    network = KINDS[kind]()
    fitted(network, torch.optim.Adam(network.parameters(), 3e-3), 60)
    return network.eval().requires_grad_(False)


def source(kind: str) -> nn.Module:
    """A copy of its own."""
    return copy.deepcopy(_trained(kind))


def classes() -> Classes:
    train, val = floats(64, 2), floats(64, 3)
    return Classes(LabelledImages(*train), LabelledImages(*val), nn.Identity(), CLASSES)


@cache
def pieces(method: str, kind: str, seed: int = 1) -> dict[str, Piece]:
    return modularize(method, source(kind), classes(), CONFIG, RUNTIME, seed)


def modules(method: str, kind: str) -> list[Module]:
    found = pieces(method, kind)
    groups = groups_for(source(kind), found["boot"], TAKES.example())
    return [extract(source(kind), piece, groups, TAKES, name) for name, piece in found.items()]


@EVERY
@NETWORK
def test_same_seed_same_modules_and_the_source_stays_as_it_is(method: Method, kind: str) -> None:
    network, state = source(kind), torch.get_rng_state()
    before = copy.deepcopy(network.state_dict())
    again = modularize(method.name, network, classes(), CONFIG, RUNTIME, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items()) and not network.training
    logits = torch.randn(3, len(CLASSES))
    assert tuple(again) == CLASSES
    for name, piece in pieces(method.name, kind).items():
        assert all(torch.equal(again[name].masks[k], v) for k, v in piece.masks.items())
        assert torch.equal(again[name].head(logits), piece.head(logits))


@EVERY
@NETWORK
def test_extracted_is_masked(method: Method, kind: str) -> None:
    network, images = source(kind), floats(20, 4)[0]
    for piece, module in zip(pieces(method.name, kind).values(), modules(method.name, kind), strict=True):
        groups = groups_for(network, piece, images)
        expected = masked(network, piece, groups)(images)[:, 0]
        assert torch.allclose(module(images), expected, atol=1e-5 * max(1.0, float(expected.abs().max())))
        zeros = {n: ~m for n, m in full_masks(network, piece, groups).items()}
        assert zeros.keys() == maskable(network).keys() and any(bool(z.any()) for z in zeros.values())


@EVERY
@NETWORK
def test_put_together_they_tell_the_classes_apart(method: Method, kind: str) -> None:
    data = LabelledImages(*floats(200, 5))
    composed = Composed([m.network for m in modules(method.name, kind)], TAKES.example()).eval()
    known = accuracy(predict(source(kind), data, nn.Identity()), data.labels)
    assert accuracy(predict(composed, data, nn.Identity()), data.labels) >= known - 0.35 > 0.5


@EVERY
def test_modules_survive_a_file(method: Method, tmp_path) -> None:
    found = pieces(method.name, "residual")
    save_pack(Pack(found, "0" * 64, len(CLASSES), {}), tmp_path)
    again = load_pack(tmp_path, "0" * 64).pieces
    logits = torch.randn(3, len(CLASSES))
    for name, piece in found.items():
        assert all(torch.equal(again[name].masks[k], v) for k, v in piece.masks.items())
        assert torch.equal(again[name].head(logits), piece.head(logits))


@EVERY
def test_a_network_without_channels_that_can_go_is_one_line(method: Method) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(768, len(CLASSES))).eval()
    if not is_of_kernels(pieces(method.name, "residual")["boot"].masks, dict(source("residual").named_parameters())):
        assert tuple(modularize(method.name, flat, classes(), CONFIG, RUNTIME, 0)) == CLASSES  # of single weights
        return
    with pytest.raises(NoChannelsError, match="none of the channels of Sequential can be removed") as caught:
        modularize(method.name, flat, classes(), CONFIG, RUNTIME, 0)
    assert "\n" not in str(caught.value)


def test_a_method_that_makes_no_modules_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected a method, one of gradsplitter, .*, got 'remos'"):
        modularize("remos", source("residual"), classes(), CONFIG, RUNTIME, 0)


def test_modules_that_learn_alone_know_how_frequent_their_classes_are() -> None:
    """Balanced images make them too sure; the shift brings mean probabilities to the classes' shares."""
    train = LabelledImages(*floats(128, 2))
    keep = (train.labels == 0) | (torch.arange(128) % 4 == train.labels % 4) & (torch.arange(128) < 64)
    skewed = LabelledImages(train.images[keep], train.labels[keep])
    given = replace(classes(), train=skewed)
    alone = ModulesConfig(gradsplitter=replace(SPLIT, loss="alone", cycles=1))
    found = modularize("gradsplitter", source("residual"), given, alone, RUNTIME, 0)
    share = skewed.labels.bincount() / len(skewed)
    for i, piece in enumerate(found.values()):
        balanced = piece.head(torch.zeros(1, 4))[0, 0] - (share[i] / (1 - share[i])).log()
        assert abs(float(balanced)) < 0.5  # a head learns a little, and gets the shift
