"""benchmarks/duel: bisection, choice on val, differences, resuming, pages from planted cards."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from duel import arms, jobs, judge, page, pool
from duel.budget import first_within, least_removed, remembered, smallest
from duel.differences import class_mean, difference, mean_of, packed, unpacked
from duel.jobs import Job, jobs_of
from duel.problems import DEFAULT, NETWORKS, PROBLEMS
from duel.rivals import kirigami, plain, torch_pruning
from duel.summary import short
from duel.task import Arm, Budget

from seam.files import read_json, write_json
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.networks.head import Reengineered, TargetHead
from seam.networks.resnet_cifar import ResNetCifar
from tasks.report.docs_tables import filled
from tasks.report.markdown import wrapped


def test_bisection_finds_the_least_removed_share_that_fits() -> None:
    tried: list[float] = []

    def make(share: float) -> float:
        tried.append(share)
        return share

    found = least_removed(make, lambda share: 1 - share, 0.35, high=0.95, steps=20)
    assert found is not None
    assert found[0] == pytest.approx(0.65, abs=1e-5)
    assert found[0] >= 0.65
    assert found[1] == found[0]
    assert found[2] == pytest.approx(0.35, abs=1e-5)
    assert len(tried) == 21


def test_bisection_says_when_nothing_fits() -> None:
    assert least_removed(lambda share: share, lambda share: 1 - share / 2, 0.3) is None


def test_a_cost_that_does_not_fall_steadily_is_looked_for_on_a_grid() -> None:
    cost = {0.25: 0.9, 0.5: 0.4, 0.75: 1.0, 0.375: 0.45, 0.3125: 0.8}
    grid = (0.25, 0.5, 0.75)
    tight, loose = (cast(Any, SimpleNamespace(memory=None, budget=Budget("ms", share))) for share in (0.3, 0.45))
    assert first_within(loose, "", lambda value: cost[value], grid, steps=2) == (0.375, 0.45)
    assert first_within(tight, "", lambda value: cost[value], grid) == (None, 0.4)


def test_budgets_and_their_labels() -> None:
    assert Budget("ms", 0.3).label == "ms30"
    assert Budget.of("macs60") == Budget("macs", 0.6)
    assert Budget.of("density5") == Budget("density", 0.05)
    assert page.said_budget("density5") == "5% of the weights"
    assert page.said_budget("ms30") == "30% of the original's milliseconds"
    assert page.said_budget("macs60") == "60% of the original's multiply-adds"


def test_arms_over_single_weights_are_for_budgets_of_density_and_no_other_is() -> None:
    of_density = {job.arm for job in jobs_of(["cifar10-cat"], [0], ["density5"], list(arms.ARMS))}
    of_time = {job.arm for job in jobs_of(["cifar10-cat"], [0], ["ms30"], list(arms.ARMS))}
    assert of_density & of_time == {"whole"}
    assert {"weights-gradual", "weights-random"} <= of_density
    assert of_density | of_time == set(arms.ARMS)
    assert set(arms.MAIN) <= of_time


def test_what_is_found_once_is_remembered_with_its_seconds(tmp_path: Path) -> None:
    task: Any = SimpleNamespace(memory=tmp_path, clock=SimpleNamespace(seconds=0.0, spared=0.0))
    assert remembered(task, "layout", lambda: 0.5) == 0.5
    path = tmp_path / "layout.json"
    write_json(path, {"found": 0.5, "cpu_seconds": 12.0})
    assert remembered(task, "layout", lambda: 0.9) == 0.5
    assert task.clock.spared == 12.0


def test_uniform_widths_are_multiples_and_keep_the_highest() -> None:
    network = ResNetCifar(20, padded=True).eval()
    groups = channel_groups(network, torch.zeros(2, 3, 32, 32))
    order = torch.arange(groups.number).float()
    kept = plain.kept_groups(groups, order, 8, 0.5)
    widths = plain.widths(groups, order, 8, 0.5)
    assert {widths["layer1.1.conv1"], widths["layer2.1.conv1"], widths["layer3.1.conv1"]} == {8, 16, 32}
    inner = groups.outputs["layer3.1.conv1"]
    assert sorted(inner[kept[inner]].tolist()) == sorted(inner.tolist())[32:]
    masked = copy.deepcopy(network)
    apply_masks(masked, plain.masks_keeping(network, groups, order, 8, 0.5))
    small = smallest(masked, torch.zeros(2, 3, 32, 32))
    assert small.get_submodule("layer3.1.conv1").out_channels == 32


def test_what_torch_pruning_removes_as_masks_is_what_it_makes() -> None:
    pytest.importorskip("torch_pruning", reason="a dependency of make duel")
    torch.manual_seed(0)
    network = ResNetCifar(20).eval()
    example = torch.randn(2, 3, 32, 32)
    task: Any = SimpleNamespace(example=lambda: example)
    small = Reengineered(copy.deepcopy(network), TargetHead(10, 2)).eval()
    masks = torch_pruning.removed_by(torch_pruning._pruner(task, small, "magnitude", ("all", 8, 0.5), 1), small.network)
    assert torch_pruning.widths(small)["network.layer3.1.conv1"] < 64
    masked = copy.deepcopy(network)
    apply_masks(masked, masks)
    torch.testing.assert_close(small.network.eval()(example), masked(example), rtol=1e-4, atol=1e-4)


def test_channels_go_in_blocks_of_a_layer_and_the_best_block_stays() -> None:
    layers = [[(5.0, "a5"), (1.0, "a1"), (2.0, "a2"), (9.0, "a9")], [(1.2, "b1"), (1.4, "b2")]]
    assert kirigami.in_blocks(layers, 2) == ["a1", "a2"]
    assert kirigami.in_blocks(layers, 1) == ["a1", "b1", "a2", "a5"]


def test_problems_have_networks_and_the_default_is_blind() -> None:
    assert all(p.network in NETWORKS for p in PROBLEMS.values())
    assert all(not PROBLEMS[name].pilot for name in DEFAULT)
    blind = [p for p in PROBLEMS.values() if not p.pilot]
    assert len(blind) >= 6
    assert len({p.network for p in blind}) >= 3


def test_accuracy_is_the_mean_over_classes_and_its_interval_is_stratified() -> None:
    right = np.array([1, 1, 1, 0] + [1, 0] * 8, float)
    found = class_mean(right, [4, 16])
    assert found.value == pytest.approx((0.75 + 0.5) / 2)
    variance = (0.25 / 4 + (16 / 15 * 0.25) / 16) / 4
    assert found.half == pytest.approx(1.959964 * variance**0.5)


def test_differences_are_paired_and_seeds_are_averaged() -> None:
    first, second = np.array([True, True, False, True]), np.array([True, False, False, True])
    assert difference([first], [first], [2, 2]).half == 0
    found = difference([first, first], [second, first], [2, 2])
    assert found.value == pytest.approx(((0 + 0.5) / 2 + 0) / 2)
    both = mean_of([found, found])
    assert both.value == pytest.approx(found.value)
    assert both.half == pytest.approx(found.half / 2**0.5)


def test_answers_are_packed_and_unpacked() -> None:
    right = np.random.default_rng(0).random(1003) < 0.9
    assert np.array_equal(unpacked(packed(right), 1003), right)


def test_the_rate_is_chosen_on_val_for_every_arm_and_group() -> None:
    done = {
        Job("p", 0, "ms30", "uniform", "cross-entropy", 0.05): {"val_accuracy": 0.80},
        Job("p", 0, "ms30", "uniform", "cross-entropy", 0.12): {"val_accuracy": 0.85},
        Job("p", 0, "ms30", "uniform", "logits", 0.05): {"val_accuracy": 0.85},
        Job("p", 0, "ms30", "uniform", "features", 0.05): {"val_accuracy": 0.90},
        Job("p", 0, "ms30", "random-0", "logits", 0.05): {"failed": "it broke"},
        Job("p", 0, "ms30", "scratch", "logits", 0.05): {"no_layout": "the smallest takes 57%"},
        Job("p", 0, "ms30", "scratch", "logits", 0.12): {"no_layout": "the smallest takes 57%"},
    }
    chosen, lost = judge.best_of(done)
    assert {key: (job.loss, job.rate) for key, job in chosen.items()} == {
        ("uniform", "own"): ("cross-entropy", 0.12),
        ("uniform", "ours"): ("features", 0.05),
    }
    assert {row["arm"]: row["lost"] for row in lost} == {"random-0": "it broke", "scratch": "the smallest takes 57%"}


def test_finished_jobs_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(jobs, "WORK", tmp_path)
    all_jobs = jobs_of(["cifar10-cat"], [0], ["ms30"], ["uniform"], rates=(0.05,))
    for job in all_jobs:
        write_json(job.folder / "card.json", {"val_accuracy": 0.5})
    monkeypatch.setattr(pool, "ProcessPoolExecutor", None)  # nothing may be started
    pool.run_all(all_jobs, tmp_path, 2)
    assert f"{len(all_jobs)} of them done before" in capsys.readouterr().out


def test_an_arm_whose_library_is_not_there_says_so_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WORK", tmp_path)
    monkeypatch.setitem(arms.ARMS, "nowhere", Arm("nowhere", lambda task, setting: None, "rival", ("no_such_library",)))
    job = Job("cifar10-cat", 0, "ms30", "nowhere", "cross-entropy", 0.05)
    card = jobs.run(job, tmp_path)
    assert card["absent"] == "no_such_library not installed: make duel installs it"
    assert pool.said(card) == f"absent: {card['absent']}"
    assert job.card() is None
    assert {"arm": "nowhere", "label": "nowhere", "kind": "rival", "lost": card["absent"]} in judge._missing(
        {}, [], Budget("ms", 0.3)
    )


def _row(arm: str, kind: str, group: str, right: np.ndarray, **values: Any) -> dict[str, Any]:
    timed = {"latency_ms_p50": 2.0, "ratio": 0.299}
    return {
        **{"arm": arm, "label": arm, "kind": kind, "group": group, "loss": "logits", "rate": 0.05, "val_accuracy": 0.9},
        **{"cpu_seconds": 61.2, "passes_used": 12, "doubts": [], "macs_share": 0.25, "accuracy": right.mean()},
        **{"half_interval": 0.01, "defect_inheritance_rate": 0.04, "answers": packed(right)},
        "latency": {"onnxruntime": timed, "openvino": {"unavailable": "not there"}},
        **values,
    }


def _card(problem: str, *rows: dict[str, Any], pilot: bool = False) -> dict[str, Any]:
    timed = {"latency_ms_p50": 6.7}
    original = {"accuracy": 0.91, "half_interval": 0.005, "defect_inheritance_rate": 0.39, "macs": 40_000_000}
    return {
        **{"problem": problem, "classes": ["a", "b"], "network": "ResNet20", "pilot": pilot, "seed": 0},
        **{"budget": "ms30", "passes": 12, "pass_images": 4000, "val_images": 500, "test_counts": [50, 50]},
        **{"engines": ["onnxruntime", "openvino"], "rows": list(rows), "command": "make duel ARGS='--data FOLDER'"},
        "original": {**original, "latency": {"onnxruntime": timed, "openvino": timed}},
        "machine": {"cpu": "a CPU", "cores": 2, "vector_instructions": ["avx2"], "versions": {"torch": "2"}},
    }


def _right(number: int) -> np.ndarray:
    return np.arange(100) % 50 < number // 2


def test_the_page_shows_lost_rows_and_lost_problems_as_lost() -> None:
    lost = {"arm": "gone", "label": "gone", "kind": "rival", "lost": "no layout within the budget: it takes 57%"}
    cards = [
        _card("won", _row("mine", "ours", "ours", _right(90)), _row("uniform", "rival", "own", _right(80)), lost),
        _card(
            "beaten",
            _row("mine", "ours", "ours", _right(70)),
            _row("uniform", "rival", "own", _right(76), doubts=["epoch 0 kept"]),
        ),
    ]
    text = page.page(cards)
    assert "| gone | – | – | – | – | – | – | – | – | – | no layout within the budget: it takes 57% |" in text
    assert (
        "| uniform | own: logits | 0.05 | 2.00 | unavailable | 29.9 | 25.0 | 76.0 ± 1.0 | 4.0 | 61 | epoch 0 kept |"
        in text
    )
    assert "| won | 30 | mine | 90.0 | uniform | 80.0 | +10.0" in text
    assert "| beaten | 30 | mine | 70.0 | uniform | 76.0 | -6.0" in text
    assert "above the best rival of each: **+2.0 [" in text
    assert "above the best single one (uniform, 2 of 2): **+2.0 [" in text
    assert "worst difference to the best rival of a problem: **-6.0** points (lost)." in text
    assert "Our training given to every rival" in text
    assert "/work" not in text


def test_page_and_readme_say_what_is_on_the_cards() -> None:
    cards = [read_json(path) for path in sorted(judge.CARDS.glob("*.json"))]
    readme = page.README.read_text()
    assert page.PAGE.read_text() == wrapped(page.page(cards))
    assert readme == filled(readme, {"duel": lambda: short(cards)}, "README.md")
    rows = {
        (r["label"], r["group"]): r for c in cards if c["budget"] == "density5" for r in c["rows"] if "lost" not in r
    }
    rival = rows["gradual magnitude pruning", "own"]["accuracy"]
    leaving = rows["seam, weights that leave while it trains", "ours"]["accuracy"]
    lost_by = 100 * (rival - rows["seam, single weights", "ours"]["accuracy"])
    said = " ".join(readme.split())
    assert f"level with gradual magnitude pruning ({leaving:.1%} against {rival:.1%})" in said
    assert f"loses to it by {lost_by:.0f} points" in said


def test_the_short_table_has_the_best_rival_of_either_training() -> None:
    mine = _row("mine", "ours", "ours", _right(90))
    rivals = (_row("uniform", "rival", "own", _right(80)), _row("other", "rival", "own", _right(84)))
    text = short([_card("won", mine, *rivals, _row("uniform", "rival", "ours", _right(88)))])
    assert "| won | 30% | 91.0 | **90.0** | 84.0 (other) | 88.0 (uniform) |" in text
    assert "| **ours above it, mean** |  |  |  | +6.0 [" in text
    assert "| **our CPU time, that rival's = 1, mean** |  |  |  | 1.0 | 1.0 |" in text


def test_ours_that_took_no_more_cpu_time_than_the_best_rival_stands_beside_our_best() -> None:
    mine = (
        _row("slow", "ours", "ours", _right(90), cpu_seconds=90.0),
        _row("short", "ours", "ours", _right(86), cpu_seconds=59.4, val_accuracy=0.8),
        _row("shorter", "ours", "ours", _right(88), cpu_seconds=50.0, val_accuracy=0.7),
    )
    cheap = _row("uniform", "rival", "own", _right(80), cpu_seconds=59.4)
    dear = _row("uniform", "rival", "own", _right(80), cpu_seconds=40.0)
    text = page.page([_card("won", *mine, cheap), _card("late", *mine, dear)])
    assert "| won | 30 | slow | 90.0 | uniform | 80.0 | +10.0" in text
    assert "| 90 / 59 | 86.0 in 59 s | +6.0 [" in text
    assert "| 90 / 40 | none |  | 4.0 |" in text
    assert "Ours in no more CPU time than that rival: **+6.0 [" in text and "], 1 of 2** points above it." in text
    assert "its CPU time, above it, mean** |  |  |  | +6.0 [" in short([_card("won", *mine, cheap)])


def test_trainings_on_a_gpu_have_no_cpu_time_to_compare() -> None:
    rows = (_row("mine", "ours", "ours", _right(90)), _row("uniform", "rival", "own", _right(80), cpu_seconds=30.6))
    on_gpu = _card("there", *({**row, "cpu_seconds": None} for row in rows)) | {"trained_on": ["A GPU"]}
    text = page.page([_card("here", *rows), on_gpu])
    assert "| 61 / 31 |" in text
    assert "| GPU / GPU |" in text
    assert "in units of that rival's: 2.0 on average (lost)." in text
    assert "2 cores; torch 2; trained on A GPU." in text
    assert "CPU time of the chosen training" not in page.page([on_gpu])
    assert "| **our CPU time, that rival's = 1, mean** |  |  |  |  |  |" in short([on_gpu])


def test_ours_is_compared_with_our_own_training() -> None:
    mine = (_row("mine", "ours", "own", _right(60)), _row("mine", "ours", "ours", _right(90)))
    text = page.page([_card("won", *mine, _row("uniform", "rival", "own", _right(80)))])
    assert "| won | 30 | mine | 90.0 | uniform | 80.0 | +10.0" in text


def test_pilots_are_no_part_of_the_summary() -> None:
    card = _card(
        "cat", _row("mine", "ours", "ours", _right(90)), _row("uniform", "rival", "own", _right(80)), pilot=True
    )
    text = page.page([card])
    assert "No card of a blind problem yet." in text
    assert "*Pilot: settings were chosen on it.*" in text
