"""CNNSplitter: better generations, chosen on val, and a search that was killed goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seam.composition.module import Piece
from seam.composition.splitting import Cycle
from seam.configs.modules import CnnSplitterConfig, ModulesConfig
from seam.methods.cnnsplitter import _difference, start
from seam.methods.modules import ModulesWatch
from tests.seam.methods.small import RUNTIME
from tests.seam.methods.test_modules_conformance import GENES, classes, source


def found(config: CnnSplitterConfig, watch: ModulesWatch | None = None) -> dict[str, Piece]:
    modules = ModulesConfig(cnnsplitter=config)
    return start(source("concatenating"), classes(), modules, RUNTIME, 0, watch or ModulesWatch())


def same(one: dict[str, Piece], other: dict[str, Piece]) -> bool:
    return all(torch.equal(other[n].masks[k], v) for n, piece in one.items() for k, v in piece.masks.items())


def test_how_many_run_at_once_makes_no_difference() -> None:
    assert same(found(GENES), found(replace(GENES, modules_at_once=5)))


@pytest.mark.parametrize("search", ["genetic", "draws"])
def test_a_search_that_was_killed_goes_on_to_the_same_modules(search: str, tmp_path: Path) -> None:
    config = replace(GENES, generations=4, search=search)
    whole, numbers = found(config), list[int]()

    class KilledError(Exception):
        pass

    def kill(cycle: Cycle) -> None:
        if cycle.number == 3:
            raise KilledError

    with pytest.raises(KilledError):
        found(config, ModulesWatch(tmp_path, kill))
    again = found(config, ModulesWatch(tmp_path, lambda c: numbers.append(c.number)))
    assert numbers == [3, 4] and same(whole, again)


def test_it_stops_when_nothing_gets_better() -> None:
    numbers = list[int]()
    config = replace(GENES, generations=50, patience=2, search="draws", population=2)
    found(config, ModulesWatch(None, lambda c: numbers.append(c.number)))
    assert len(numbers) < 50


def test_the_difference_of_masks_is_one_less_their_jaccard_index() -> None:
    kept = torch.tensor([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [1, 1, 1]]]).bool()
    apart = _difference(kept)
    assert apart[0, 0].tolist() == [[0, 1], [0.5, pytest.approx(1 / 3)]]
    assert torch.equal(apart, apart.permute(2, 3, 0, 1))
