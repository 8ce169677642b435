"""GradSplitter: the gradient by parts is the gradient at once, and a search that was killed goes on."""

from __future__ import annotations

import copy
import math
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


@pytest.mark.parametrize(("caution", "least"), [(0.0, 0.9), (100.0, 0.95)])
def test_the_smallest_cycle_within_the_tolerance_is_kept(caution: float, least: float) -> None:
    seen: list[Cycle] = []
    config = replace(SPLIT, cycles=3, tolerance=0.1, caution=caution, lr_scores=0.15)
    pieces = found(config, ModulesWatch(None, seen.append))
    masks = [copy.copy(m) for piece in pieces.values() for m in piece.masks.values()]
    share = sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)
    assert any(c.val_accuracy < 1 for c in seen)  # the source is right on all of val
    assert share == pytest.approx(min(1.0, *(c.kept for c in seen if c.val_accuracy >= least)), abs=1e-6)


@pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")
def test_heads_alone_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[bool, list[float]] = {True: [], False: []}
    step = torch.optim.Adam.step

    def seen(self: torch.optim.Adam) -> None:
        rates[len(self.param_groups) == 2].append(self.param_groups[0]["lr"])
        kernels = [p for group in self.param_groups[1:] for p in group["params"]]
        assert all(p.grad is not None for p in kernels)
        step(self)

    source("concatenating")  # trained once for all tests
    monkeypatch.setattr(torch.optim.Adam, "step", seen)
    settle = replace(SPLIT, head_passes=0, settle_passes=2, lr_head=0.5, batch_size=20, pass_images=40)
    found(settle)
    with_kernels, alone = rates[True], rates[False]
    assert set(with_kernels) == {0.5} and len(alone) == 4
    assert alone == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    alone.clear()
    found(replace(settle, settling="constant"))
    assert set(alone) == {0.5}
