"""One pass of gradients, on a network small enough to know it by heart; and the layouts that are tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.masks.masks import apply_masks
from seam.measures.macs import weight_macs
from seam.networks.head import Reengineered
from seam.networks.norms import put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from seam.search.one_pass import RULES
from seam.search.portfolio import best_of, distinct
from seam.search.problem import SearchProblem
from tests.seam.left_or_right import left_or_right
from tests.seam.masks.block import seeded_block

CONFIG = SearchConfig(
    method="one_pass",
    structure="channels",
    channel_block=1,
    cost="macs",
    target=0.4,
    batch_size=16,
    augment="none",
    accuracy_floor=0.0,
)
TRAINING = FinetuneConfig(lr=0.01, augment="none")
PREPROCESS = Preprocess((0.3,) * 3, (0.3,) * 3)
RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)


def search(config: SearchConfig = CONFIG) -> MaskSearch:
    network = seeded_block()
    macs = weight_macs(network, torch.zeros(1, 3, 8, 8))
    problem = SearchProblem(network, PREPROCESS, left_or_right(0), left_or_right(1), 2, 0.9, macs)
    return MaskSearch(problem, config, RUNTIME, 3)


FELT = torch.tensor([[3.0, -3.0, 1.0, 0.0], [2.0, -2.0, 0.0, 1.0]])
"""Of two batches and four groups; the first two undo each other."""


@pytest.mark.parametrize(
    ("rule", "worth"),
    [
        ("sum", [0, 6.5, 13, 13.5, 14]),
        ("share", [0, 6.5 / 14, 13 / 14, 13.5 / 14, 1]),
        ("root_width", [0, 0.5, 0.5**0.5, 0.75**0.5, 1]),
        ("width", [0, 0.25**0.75, 0.5**0.75, 0.75**0.75, 1]),
    ],
)
def test_what_widths_are_worth_by_hand(rule: str, worth: list[float]) -> None:
    """The whole of the unit is felt as 1 in both batches."""
    assert RULES[rule](FELT).tolist() == pytest.approx(worth)


def test_a_unit_felt_sixteen_times_as_much_is_worth_four_times_as_much() -> None:
    assert torch.allclose(RULES["share"](16 * FELT), 4 * RULES["share"](FELT))


def test_the_mask_is_the_layout_of_the_greatest_worth() -> None:
    found = search()
    result, one_pass = found.run(), found.one_pass
    assert one_pass is not None and len(result.rounds) == 1
    layout = one_pass.layout(CONFIG.target, one_pass.rule)
    assert one_pass.costs.of(layout) <= CONFIG.target * one_pass.costs.whole
    assert result.chosen is not None and result.chosen.layout == layout
    assert result.chosen.whole_layout == {unit.name: len(unit.groups) for unit in one_pass.costs.units}
    assert result.chosen.cost == one_pass.costs.of(layout) <= CONFIG.target * result.chosen.cost_of_all
    network = seeded_block()
    apply_masks(network, result.masks)
    put_norm_tensors(network, result.norms)
    model = Reengineered(network, result.head)
    assert accuracy(predict(model, left_or_right(1), PREPROCESS), left_or_right(1).labels) == result.best.val_accuracy


def test_nothing_of_the_source_moves_in_the_pass() -> None:
    found = search()
    before = {k: v.clone() for k, v in found.objective.network.state_dict().items()}
    head = [p.clone() for p in found.objective.head.parameters()]
    found.loop.run()
    assert all(torch.equal(before[k], v) for k, v in found.objective.network.state_dict().items())
    assert all(map(torch.equal, head, found.objective.head.parameters()))


def test_a_killed_one_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    config = replace(CONFIG, layouts=3)
    whole = search(config).run(None, None, TRAINING)
    assert len(whole.tried) > 1

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    killed = search(config)
    with monkeypatch.context() as patch:
        patch.setattr("seam.search.mask_search.best_of", stop)
        with pytest.raises(KeyboardInterrupt):
            killed.run(tmp_path / "state", None, TRAINING)
    resumed = search(config).run(tmp_path / "state", None, TRAINING)
    assert resumed.tried == whole.tried and resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[k], whole.masks[k]) for k in whole.masks)


def test_the_portfolio_returns_the_planted_best() -> None:
    proposed = distinct({"one": {"a": 1}, "other": {"a": 2}, "same": {"a": 1}, "late": {"a": 3}}, most=3)
    assert list(proposed) == [("one", "same"), ("other",), ("late",)]
    losses = {1: 0.5, 2: 0.2, 3: 0.9}
    tried = best_of(proposed, lambda layout: (0.5, losses[layout["a"]]))
    assert [(t.rules, t.val_cross_entropy) for t in tried] == [
        (("other",), 0.2),
        (("one", "same"), 0.5),
        (("late",), 0.9),
    ]


def test_the_mask_is_that_of_the_layout_that_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are planted so that a layout wins which is not the first guess."""
    found = search(replace(CONFIG, layouts=9))
    given: list[dict[str, torch.Tensor]] = []

    def planted(model: object, masks: dict[str, torch.Tensor], *_: object) -> tuple[float, float]:
        given.append(masks)
        return 0.5, 1.0 / len(given)

    monkeypatch.setattr("seam.search.mask_search.train_briefly", planted)
    result = found.run(None, None, TRAINING)
    assert len(given) == len(result.tried) > 1
    assert result.tried[0].val_cross_entropy == 1 / len(given)
    assert all(torch.equal(result.masks[name], mask) for name, mask in given[-1].items())
