"""GradSplitter: the gradient by parts is the gradient at once, and a search that was killed goes on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seam.composition.module import Piece
from seam.composition.splitting import Cycle
from seam.configs.modules import GradSplitterConfig, ModulesConfig
from seam.errors import SuspectResultWarning
from seam.methods.gradsplitter import start
from seam.methods.modules import ModulesWatch
from tests.seam.methods.small import RUNTIME
from tests.seam.methods.test_modules_conformance import SPLIT, classes, source


def found(config: GradSplitterConfig, watch: ModulesWatch | None = None, seed: int = 0) -> dict[str, Piece]:
    modules = ModulesConfig(gradsplitter=config)
    return start(source("concatenating"), classes(), modules, RUNTIME, seed, watch or ModulesWatch())


def same(one: dict[str, Piece], other: dict[str, Piece]) -> bool:
    logits = torch.randn(3, 4)
    return all(
        all(torch.equal(other[name].masks[k], v) for k, v in piece.masks.items())
        and torch.allclose(other[name].head(logits), piece.head(logits), atol=1e-5)
        for name, piece in one.items()
    )


@pytest.mark.parametrize("loss", ["together", "alone"])
def test_modules_a_few_at_a_time_are_the_same(loss: str) -> None:
    config = replace(SPLIT, loss=loss, head="two_layers", cycles=1)
    assert same(found(config), found(replace(config, modules_at_once=3)))


def test_kernels_go_and_more_with_a_larger_alpha() -> None:
    def kept(alpha: float) -> float:
        masks = [piece.masks for piece in found(replace(SPLIT, alpha=alpha, growth=1.0, tolerance=1.0)).values()]
        return sum(int(m.sum()) for own in masks for m in own.values()) / sum(
            m.numel() for own in masks for m in own.values()
        )

    with pytest.warns(SuspectResultWarning, match="no kernel was removed"):
        start(source("concatenating"), classes(), ModulesConfig(gradsplitter=replace(SPLIT, cycles=0)), RUNTIME, 0)
    assert kept(3.0) < kept(0.0) <= 1.0


def test_no_cycle_within_the_tolerance_is_a_doubt() -> None:
    spoiled = replace(SPLIT, tolerance=0.0, head="two_layers", head_passes=0, cycles=1, lr_scores=5.0)
    with pytest.warns(SuspectResultWarning, match="no cycle was within the tolerance"):
        found(spoiled)


@pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")
def test_a_search_that_was_killed_goes_on_to_the_same_modules(tmp_path: Path) -> None:
    whole = found(replace(SPLIT, cycles=2))

    class KilledError(Exception):
        pass

    def kill(cycle: object) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        found(replace(SPLIT, cycles=2), ModulesWatch(tmp_path, kill))
    numbers: list[int] = []
    again = found(replace(SPLIT, cycles=2), ModulesWatch(tmp_path, lambda c: numbers.append(c.number)))
    assert numbers == [2] and same(whole, again)
    found(replace(SPLIT, cycles=2), ModulesWatch(tmp_path, lambda c: numbers.append(c.number)))
    assert numbers == [2]
    found(replace(SPLIT, cycles=2), ModulesWatch(tmp_path, lambda c: numbers.append(c.number)), seed=1)
    assert numbers == [2, 1, 2]


def test_the_smallest_cycle_within_the_tolerance_is_kept() -> None:
    seen: list[Cycle] = []
    pieces = found(replace(SPLIT, cycles=3, tolerance=0.1), ModulesWatch(None, seen.append))
    masks = [copy.copy(m) for piece in pieces.values() for m in piece.masks.values()]
    share = sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)
    assert share == pytest.approx(min(c.kept for c in seen if c.val_accuracy >= 0.9), abs=1e-6)
