"""A search that was killed continues to the same result, on the same data alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.networks.source import Preprocess
from seam.search.result import Round
from tests.seam.changed_data import mirrored, same, swapped
from tests.seam.search.needle import CONFIG, DRIFT, needle, search


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)


def _kill_after(last: int) -> Callable[[Round], None]:
    def on_round(now: Round) -> None:
        if now.round == last:
            raise Killed

    return on_round


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, batch_size=24),
        replace(CONFIG, norm_layers="frozen"),
        DRIFT,
        replace(DRIFT, head_only_every=5),
    ],
    ids=["budget", "budget, 5 steps a round", "budget, frozen norm layers", "drift", "head only"],
)
def test_killed_search_continues_to_the_same_result(tmp_path: Path, config: SearchConfig) -> None:
    whole = search(config).run()
    checkpoint = tmp_path / "checkpoint.safetensors"
    for last in (4, 21):
        with pytest.raises(Killed):
            search(config).run(checkpoint, _kill_after(last))
    seen: list[int] = []
    resumed = search(config).run(checkpoint, lambda r: seen.append(r.round))
    assert seen[0] == 22
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[k], whole.masks[k]) for k in whole.masks)
    assert all(torch.equal(resumed.norms[k], whole.norms[k]) for k in whole.norms)
    assert torch.equal(resumed.head.linear.weight, whole.head.linear.weight)


def _first_round_after_a_kill(tmp_path: Path, changes: dict[str, Any], **first: Any) -> int:
    """The first round of a search for a changed problem, where another was killed after round 2."""
    config, checkpoint = replace(CONFIG, max_rounds=5), tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        search(config, **first).run(checkpoint, _kill_after(2))
    rounds: list[int] = []
    resumed = search(config, **changes).run(checkpoint, lambda found: rounds.append(found.round))
    assert resumed.rounds == search(config, **changes).run().rounds
    return rounds[0]


@pytest.mark.parametrize("which", ["train", "val"])
@pytest.mark.parametrize(("change", "first"), [(same, 3), (swapped, 0), (mirrored, 0)])
def test_it_continues_on_the_same_images_and_labels_alone(
    tmp_path: Path, which: str, change: Callable[[LabelledImages], LabelledImages], first: int
) -> None:
    assert _first_round_after_a_kill(tmp_path, {which: change(getattr(needle(), which))}) == first


def test_it_continues_on_the_same_spare_images_alone(tmp_path: Path) -> None:
    spare = LabelledImages(needle().val.images[:40], torch.ones(40, dtype=torch.int64))
    assert _first_round_after_a_kill(tmp_path / "same", {"spare": spare}, spare=spare) == 3
    assert _first_round_after_a_kill(tmp_path / "mirrored", {"spare": mirrored(spare)}, spare=spare) == 0
    assert _first_round_after_a_kill(tmp_path / "none", {}, spare=spare) == 0


def _with(change: Callable[[nn.Module], None]) -> nn.Module:
    network = needle().network
    with torch.no_grad():
        change(network)
    return network


def test_it_continues_in_the_same_network_alone(tmp_path: Path) -> None:
    def negated(network: nn.Module) -> None:
        network.get_parameter("conv.weight").neg_()

    def shifted(network: nn.Module) -> None:
        network.get_parameter("bn.bias").add_(0.1)

    for name, change, first in (("same", lambda network: None, 3), ("negated", negated, 0), ("shifted", shifted, 0)):
        assert _first_round_after_a_kill(tmp_path / name, {"network": _with(change)}) == first, name


def test_it_continues_with_the_same_normalisation_and_number_of_classes_alone(tmp_path: Path) -> None:
    assert _first_round_after_a_kill(tmp_path / "1", {"preprocess": Preprocess((0.3,) * 3, (0.3,) * 3)}) == 3
    assert _first_round_after_a_kill(tmp_path / "2", {"preprocess": Preprocess((0.3,) * 3, (0.2,) * 3)}) == 0
    assert _first_round_after_a_kill(tmp_path / "3", {"num_classes": 3}) == 0


def test_checkpoint_of_other_numbers_is_not_used(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    search(replace(CONFIG, max_rounds=5)).run(checkpoint)
    rounds: list[int] = []
    search(replace(CONFIG, max_rounds=6)).run(checkpoint, lambda r: rounds.append(r.round))
    assert rounds == [0, 1, 2, 3, 4, 5]


def test_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"half a checkp")
    assert len(search(replace(CONFIG, max_rounds=2)).run(checkpoint).rounds) == 2
