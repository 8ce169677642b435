"""Which candidate of a search is kept, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seam.configs.search import SearchConfig
from seam.masks.masks import density
from seam.search.choose import BestRound
from seam.search.result import Point, Round, frontier
from seam.search.stop import after, any_of, once_removed, stop_of, without_progress
from tests.seam.search.needle import CONFIG, DRIFT, WEIGHTS, search


def _rounds(*found: tuple[float, float, bool]) -> list[Round]:
    """Of (density, val accuracy, accepted)."""
    return [Round(i, 0.1, *one) for i, one in enumerate(found)]


def test_without_a_candidate_at_the_floor_the_best_compromise_is_kept_and_said() -> None:
    result = search(replace(DRIFT, max_rounds=5), source_val_accuracy=1.1).run()
    assert not result.met_floor
    assert result.rounds[result.best.round] == max(result.rounds, key=lambda r: r.val_accuracy - r.density)
    assert not search(replace(CONFIG, max_rounds=5), source_val_accuracy=1.1).run().met_floor


@pytest.mark.parametrize("target", [0.05, 0.3])
def test_a_target_is_met_exactly_when_no_accuracy_is_asked_for(target: float) -> None:
    result = search(replace(CONFIG, target=target, accuracy_floor=0.0, max_rounds=3)).run()
    assert sum(int(m.sum()) for m in result.masks.values()) == round(target * WEIGHTS)


def test_the_smallest_point_of_the_frontier_at_the_floor_is_kept() -> None:
    result = search(replace(CONFIG, target=0.01, alpha=100.0), source_val_accuracy=0.99).run()
    assert result.met_floor and result.best in result.frontier
    assert all(p.val_accuracy < 0.99 for p in result.frontier if p.density < result.best.density)
    assert [density(masks) for masks in result.candidates] == pytest.approx([p.density for p in result.frontier])


def test_the_frontier_goes_on_below_the_target_and_nothing_there_is_kept() -> None:
    result = search(replace(CONFIG, target=0.3, alpha=100.0), source_val_accuracy=0.01).run()
    densities = [p.density for p in result.frontier]
    assert densities == pytest.approx([0.48, 0.3, 0.3 / 1.6, 0.3 / 1.6**2, 0.3 / 1.6**3], abs=2 / WEIGHTS)
    assert result.met_floor and result.best.density == pytest.approx(0.3, abs=2 / WEIGHTS)
    lost = search(replace(CONFIG, target=0.3), source_val_accuracy=1.1).run()
    assert not lost.met_floor and lost.best.density > 0.3 - 2 / WEIGHTS


def test_alpha_weighs_cost_against_accuracy_among_the_candidates() -> None:
    few, many = (
        search(replace(CONFIG, target=0.01, alpha=a), source_val_accuracy=0.5).run().best for a in (100.0, 0.0)
    )
    assert few.density < many.density and few.val_accuracy >= 0.5


def test_rounds_follow_the_published_order() -> None:
    best = BestRound(search(DRIFT).objective, floor=0.9)
    assert not best.accepts(0.1, 0.89)  # below the floor
    best.note(Round(0, 0.1, 0.5004, 0.92, best.accepts(0.5004, 0.92)))
    assert best.found is not None and best.found.accepted
    assert best.accepts(0.4999, 0.90)  # fewer per mille, at the floor
    assert not best.accepts(0.4999, 0.89)
    assert best.accepts(0.5002, 0.93)  # same per mille, better accuracy
    assert not best.accepts(0.5003, 0.92)  # same per mille, same accuracy
    assert not best.accepts(0.6, 0.99)


def test_the_model_is_what_it_was_after_the_best_round() -> None:
    objective = search(DRIFT).objective
    best = BestRound(objective, floor=0.9)
    rounds = _rounds((0.5, 0.8, False), (0.4, 0.6, False), (0.6, 0.95, True), (0.3, 0.7, False))
    for found in rounds:
        with torch.no_grad():
            objective.scored.scores.fill_(float(found.round))
            objective.head.get_parameter("linear.bias").fill_(float(found.round))
        best.note(found)
    choice = best.choose(rounds)
    assert choice.best == Point(0.6, 0.95, 2)
    assert set(objective.scored.scores.tolist()) == set(objective.head.get_parameter("linear.bias").tolist()) == {2.0}
    assert choice.frontier == (Point(0.6, 0.95, 2), Point(0.5, 0.8, 0), Point(0.3, 0.7, 3))


def test_frontier_keeps_what_no_round_beats() -> None:
    points = tuple(
        Point(d, a, i) for i, (d, a) in enumerate([(0.9, 0.95), (0.5, 0.97), (0.4, 0.90), (0.3, 0.90), (0.2, 0.80)])
    )
    assert [(r.density, r.val_accuracy) for r in frontier(points)] == [(0.5, 0.97), (0.3, 0.90), (0.2, 0.80)]


def test_stops_when_nothing_improves() -> None:
    stop = without_progress(3)
    assert stop(_rounds(*[(0.5, 0.9, i == 0) for i in range(4)]))
    assert not stop(_rounds(*[(0.5, 0.9, i == 0) for i in range(3)]))  # too early to say
    assert not stop(_rounds(*[(0.5 - 0.01 * i, 0.8, i == 0) for i in range(4)]))  # still removing
    assert not stop(_rounds(*[(0.5, 0.9, i == 2) for i in range(4)]))  # a better one two rounds ago


def test_rules_are_put_together() -> None:
    done = _rounds((0.7, 0.9, False), (0.4, 0.9, False))
    assert [once_removed(0.6)(done), once_removed(0.61)(done), once_removed(0.0)([])] == [True, False, False]
    assert [after(2)(done), after(3)(done)] == [True, False]
    assert any_of(after(3), once_removed(0.6))(done) and not any_of(after(3), once_removed(0.9))(done)


@pytest.mark.parametrize(
    ("config", "rounds"), [(replace(DRIFT, patience=3), 4), (replace(DRIFT, patience=0), 60), (CONFIG, 40)]
)
def test_patience_counts_without_a_budget_alone(config: SearchConfig, rounds: int) -> None:
    done = _rounds(*[(0.5, 0.9, False)] * 100)
    assert next(n for n in range(100) if stop_of(config)(done[:n])) == rounds
