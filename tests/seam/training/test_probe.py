"""Short trainings of a copy, and the rate that they choose."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from seam.configs.training import FinetuneConfig
from seam.errors import DivergedError, SuspectResultWarning
from seam.networks.head import Reengineered, TargetHead
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.training.batches import training_batches
from seam.training.finetune import finetune
from seam.training.probe import Chosen, Probe, choose_rate, probe
from tests.seam.training.bright import RUNTIME, small_network, two_shades

CONFIG = FinetuneConfig(
    epochs=7, lr=0.01, lr_head=0.05, augment="none", batch_size=8, rates=(1e-6, 0.3, 30.0), probe_epochs=3
)
PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3)
TRAIN, VAL = two_shades(), two_shades(20, 1)
TOO_HIGH = 1e30


def model() -> Reengineered:
    torch.manual_seed(0)
    return Reengineered(small_network(), TargetHead(2, 2)).requires_grad_(False)


def choose(config: FinetuneConfig = CONFIG, **options: Any) -> Chosen:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return choose_rate(model(), None, PREPROCESS, TRAIN, VAL, config, RUNTIME, 0, **options)


def trained_by_hand(lr: float, lr_head: float) -> Probe:
    """Of three epochs along a cosine, the model at their end."""
    config = replace(CONFIG, rates=(), epochs=3, lr=lr, lr_head=lr_head, schedule="cosine")
    state: list[Reengineered] = []
    trained = model()

    def note(_: object) -> None:
        state.append(copy.deepcopy(trained))

    finetune(trained, None, PREPROCESS, TRAIN, VAL, config, RUNTIME, 0, on_epoch=note, doubts=False)
    logits = predict(state[-1].eval(), VAL, PREPROCESS)
    return Probe(lr, accuracy(logits, VAL.labels), float(F.cross_entropy(logits, VAL.labels)))


def test_the_best_rate_wins_and_the_heads_stays_in_proportion() -> None:
    """A rate that changes nothing, one that learns in three epochs, one that is far too high."""
    chosen = choose()
    assert chosen.config == replace(CONFIG, lr=0.3, lr_head=chosen.config.lr_head, rates=())
    assert chosen.config.lr_head == pytest.approx(5 * 0.3)
    for found, rate in zip(chosen.probes, CONFIG.rates, strict=True):
        by_hand = trained_by_hand(rate, 5 * rate)
        assert (found.lr, found.val_accuracy) == (rate, by_hand.val_accuracy)
        assert found.val_cross_entropy == pytest.approx(by_hand.val_cross_entropy)
    low, best, high = (p.val_cross_entropy or 0.0 for p in chosen.probes)
    assert 0 < best < min(low, high)


def test_the_model_stays_as_it_was_and_what_is_removed_is_removed_in_the_copy() -> None:
    given = model()
    before = {k: v.clone() for k, v in given.state_dict().items()}
    masks = {"0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.bool)}
    last = probe(given, masks, PREPROCESS, TRAIN, VAL, CONFIG, 2, RUNTIME, 0)
    assert last.epoch == 2
    assert last.val_accuracy == 0.5  # all images look alike
    assert all(torch.equal(before[k], v) for k, v in given.state_dict().items())


def test_a_rate_without_a_finite_loss_loses() -> None:
    chosen = choose(replace(CONFIG, rates=(1e-6, TOO_HIGH, 0.3)))
    assert chosen.config.lr == 0.3
    assert chosen.probes[1] == Probe(TOO_HIGH, None, None)


def test_all_rates_without_a_finite_loss_are_refused() -> None:
    with pytest.raises(DivergedError, match=r"at one of the rates 1e\+30, 1e\+31, got none; add others"):
        choose(replace(CONFIG, rates=(TOO_HIGH, 10 * TOO_HIGH)))


@pytest.mark.parametrize(("rates", "end"), [((1e-6, 1e-3, 0.3), "highest, 0.3"), ((0.3, TOO_HIGH), "lowest, 0.3")])
def test_the_best_at_an_end_of_the_list_is_doubted(rates: tuple[float, ...], end: str) -> None:
    with pytest.warns(SuspectResultWarning, match=f"best of {len(rates)} rates is the {end}: the list may end") as said:
        choose_rate(model(), None, PREPROCESS, TRAIN, VAL, replace(CONFIG, rates=rates), RUNTIME, 0)
    assert len(said) == 1


def test_without_a_choice_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.training.probe.probe", None)
    assert choose(replace(CONFIG, rates=())) == Chosen(replace(CONFIG, rates=()), ())
    alone = choose(replace(CONFIG, rates=(0.04,)))
    assert (alone.config.lr, alone.config.lr_head, alone.config.rates, alone.probes) == (0.04, 0.2, (), ())


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"rates must differ from each other, got \[0.1, 0.1\]"):
        FinetuneConfig(rates=(0.1, 0.1))
    with pytest.raises(ValueError, match="expected one of them as lr"):
        finetune(model(), None, PREPROCESS, TRAIN, VAL, CONFIG, RUNTIME, 0)


def test_a_killed_choice_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second epoch of the second probe: four of nine epochs are there."""
    begun: list[int] = []

    def counted(*arguments: Any, stop: int) -> Iterator[Any]:
        begun.append(1)
        if len(begun) == stop:
            raise KeyboardInterrupt
        return training_batches(*arguments)

    whole = choose()
    monkeypatch.setattr("seam.training.loop.training_batches", lambda *a: counted(*a, stop=5))
    with pytest.raises(KeyboardInterrupt):
        choose(checkpoint=tmp_path / "state", key="k")
    assert {path.name for path in tmp_path.iterdir()} == {"rate-1e-06-state", "rate-0.3-state"}
    begun.clear()
    monkeypatch.setattr("seam.training.loop.training_batches", lambda *a: counted(*a, stop=0))
    assert choose(checkpoint=tmp_path / "state", key="k") == whole
    assert len(begun) == 5
    assert choose(checkpoint=tmp_path / "state", key="other") == whole
    assert len(begun) == 5 + 9
