"""Channels first, then weights of what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.errors import NoChannelsError, SuspectResultWarning
from seam.masks.masks import apply_masks, density
from seam.measures.macs import count
from seam.networks.head import Reengineered
from seam.networks.norms import put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.hybrid import search_hybrid
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.result import Round, SearchResult
from tests.seam.architectures import Stream
from tests.seam.left_or_right import left_or_right

CONFIG = SearchConfig(
    structure="hybrid",
    channel_block=1,
    channels_target=0.5,
    target=0.15,
    batch_size=16,
    max_rounds=16,
    augment="none",
    accuracy_floor=0.0,
)
PREPROCESS = Preprocess((0.3,) * 3, (0.3,) * 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
    )
    return nn.Sequential(*inner, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)).eval()


def prepare(config: SearchConfig, left: SearchResult | None, make: Callable[[], nn.Module] = network) -> MaskSearch:
    searched = make()
    if left is not None:
        apply_masks(searched, left.masks)
        put_norm_tensors(searched, left.norms)
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
    problem = SearchProblem(searched, PREPROCESS, left_or_right(0), left_or_right(1), 2, source_val_accuracy=0.9)
    return MaskSearch(problem, config, runtime, 3)


def test_weights_are_removed_from_the_channels_that_are_left() -> None:
    rounds: list[Round] = []
    result = search_hybrid(prepare, CONFIG, on_round=rounds.append)
    assert [r.round for r in rounds] == list(range(16))
    assert tuple(rounds) == result.rounds
    kept = density(result.masks)
    assert kept == pytest.approx(CONFIG.target, abs=1e-3)
    assert kept == pytest.approx(result.best.density, abs=1e-6)
    chosen = result.candidates[result.frontier.index(result.best)]
    assert all(torch.equal(chosen[name], mask) for name, mask in result.masks.items())
    assert [density(masks) for masks in result.candidates] == pytest.approx([p.density for p in result.frontier])
    assert result.rounds[8].density <= result.rounds[7].density  # the second half starts where the first ended
    reengineered = network()
    apply_masks(reengineered, result.masks)
    put_norm_tensors(reengineered, result.norms)
    model = Reengineered(reengineered, result.head)
    assert (
        accuracy(predict(model, left_or_right(1), PREPROCESS), left_or_right(1).labels)
        == result.best.val_accuracy
        >= 0.9
    )
    example = torch.zeros(1, 3, 8, 8)
    whole, smaller = (
        count(network(), example).macs_dense,
        count(compact(reengineered, example).module, example).macs_dense,
    )
    assert smaller < 0.6 * whole  # by channels alone: compaction leaves single zeros where they are


def test_a_search_killed_in_either_half_continues_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    for last in (3, 11):

        def stop(found: Round, last: int = last) -> None:
            if found.round == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search_hybrid(prepare, CONFIG, tmp_path / "state", stop)
    seen: list[int] = []
    resumed, whole = (
        search_hybrid(prepare, CONFIG, tmp_path / "state", lambda found: seen.append(found.round)),
        search_hybrid(prepare, CONFIG),
    )
    assert seen == [12, 13, 14, 15]
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[name], mask) for name, mask in whole.masks.items())


def test_a_network_whose_channels_cannot_be_followed_is_searched_for_weights() -> None:
    def prepare_weights_only(config: SearchConfig, left: SearchResult | None) -> MaskSearch:
        if config.structure == "channels":
            raise NoChannelsError("the channels of Loop cannot be followed", hint="structure")
        return prepare(config, left)

    with pytest.warns(SuspectResultWarning, match="the channels of Loop cannot be followed"):
        result = search_hybrid(prepare_weights_only, CONFIG)
    alone = prepare(replace(CONFIG, structure="weights"), None).run()
    assert len(result.rounds) == CONFIG.max_rounds
    assert all(torch.equal(result.masks[name], mask) for name, mask in alone.masks.items())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"method": "drift"}, "structure hybrid needs method budget or one_pass, got drift"),
        ({"channels_target": 0.1}, "channels_target must be between target and 1, got 0.1"),
        ({"max_rounds": 1}, "structure hybrid needs max_rounds >= 2, got 1"),
    ],
)
def test_numbers_that_do_not_go_together_are_one_clear_line(change: dict[str, object], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        replace(CONFIG, **change)  # type: ignore[arg-type]


def test_positions_keep_the_channels_of_the_first_search_and_lose_no_single_weights() -> None:
    def stream() -> nn.Module:
        torch.manual_seed(0)
        return Stream().eval()

    result = search_hybrid(partial(prepare, make=stream), replace(CONFIG, max_rounds=6, target=0.2))
    gone = (~result.masks["scale"]).nonzero()[:, 0].tolist()
    assert gone
    assert (~result.masks["token"]).nonzero()[:, 2].tolist() == gone
    assert torch.equal(result.masks["positions"], result.masks["scale"].expand(17, -1))
    reengineered, images = stream(), torch.randn(4, 3, 8, 8)
    apply_masks(reengineered, result.masks)
    put_norm_tensors(reengineered, result.norms)
    done = compact(reengineered, images)
    assert done.removed["embed"] >= len(gone)
    torch.testing.assert_close(done.module(images), reengineered(images))
