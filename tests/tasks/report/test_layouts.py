"""Layouts tried, which won, and predicted beside measured time: on the card, the page and at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.project.stage import StageContext
from tasks.register_model import final_metrics
from tasks.report.card import build_card, read_evidence
from tasks.report.closing import time_of_layout
from tasks.report.layouts import layout_text, tried_rows
from tests.tasks.report.one_pass import CHANNELS, plant
from tests.tasks.report.page import REGISTRATION, Edit, render

SAID = "predicted 3.000 ms, measured 3.300 ms (+10.0%): onnxruntime, batch 16, 1 thread"


def test_predicted_stands_beside_measured(registry_project: StageContext, edit_json: Edit) -> None:
    plant(registry_project, edit_json)
    evidence = read_evidence(registry_project)
    card = build_card(registry_project, evidence, [], REGISTRATION)
    assert card["predicted_time"] == {
        "engine": "onnxruntime",
        "batch_size": 16,
        "num_threads": 1,
        "predicted_latency_ms_p50": 3.0,
        "measured_latency_ms_p50": 3.3,
        "same_machine": True,
        "of_all": True,
    }
    assert card["warnings"] == ["<script>doubt</script>", "standard_finetuned: a doubt"]
    found = time_of_layout(registry_project.root, "zero")
    assert found is not None and found.text == SAID
    metrics = final_metrics(evidence)
    assert metrics["search/channels/predicted_latency_ms_p50"] == 3.0
    assert metrics["search/channels/cost_kept"] == 0.4
    assert metrics["benchmark_latency/onnxruntime/compacted/batch16/latency_ms_p50"] == 3.3


@pytest.mark.parametrize(
    ("measured", "about", "doubted"),
    [
        (3.46, {}, True),
        (2.54, {}, True),
        (3.44, {}, False),
        (2.56, {}, False),
        (None, {}, False),
        (9.0, {"machine": {"cpu": "another CPU"}}, False),
        (9.0, {"machine": {}}, False),
        (2.0, {"structure": "hybrid"}, False),
        (9.0, {"num_threads": 2}, False),
        (9.0, {"engine": "deepsparse"}, False),
    ],
)
def test_what_is_more_than_15_percent_off_is_a_doubt(
    registry_project: StageContext, edit_json: Edit, measured: float | None, about: dict[str, Any], doubted: bool
) -> None:
    plant(registry_project, edit_json, measured, **about)
    card = build_card(registry_project, read_evidence(registry_project), [], REGISTRATION)
    assert any("more than 15% apart" in text for text in card["warnings"]) == doubted


@pytest.mark.parametrize(
    ("measured", "about", "said"),
    [
        (None, {}, "predicted 3.000 ms, not measured: onnxruntime, batch 16, 1 thread"),
        (3.3, {"machine": {"cpu": "another CPU"}}, f"{SAID}, on another machine than predicted"),
        (3.3, {"structure": "hybrid"}, SAID.replace("3.000 ms", "3.000 ms of the channels alone")),
        (3.3, {"num_threads": 2}, "predicted 3.000 ms, not measured: onnxruntime, batch 16, 2 threads"),
    ],
)
def test_what_is_said_of_the_time(
    registry_project: StageContext, edit_json: Edit, measured: float | None, about: dict[str, Any], said: str
) -> None:
    plant(registry_project, edit_json, measured, **about)
    predicted = read_evidence(registry_project).predicted
    assert predicted is not None and predicted.text == said
    assert (time_of_layout(registry_project.root, "zero") is None) == ("not measured" in said)


def test_the_winner_is_marked() -> None:
    assert tried_rows(CHANNELS) == [
        ("share, sum", True, ["16 0 32", "81.00%", "0.400"]),
        ("root_<width>", False, ["16 16 16", "82.00%", "0.520"]),
    ]
    assert layout_text(CHANNELS) == (
        "3 units of layers whose channels go together keep 48 of 96 groups of channels (1 unit goes whole): 40.0% of"
        " the time. Chosen by the rule share, the best on val of 2 layouts after a short training."
    )


def test_a_layout_taken_untried_has_no_table(registry_project: StageContext, edit_json: Edit) -> None:
    alone = {**CHANNELS["tried"][0], "val_accuracy": None, "val_cross_entropy": None}
    for tried in ([], [alone]):
        plant(registry_project, edit_json, tried=tried)
        page = render(registry_project)
        assert "by the rule share, untried." in page
        assert "layouts tried, by rule" not in page


def test_the_page_has_both_times_and_the_layouts(registry_project: StageContext, edit_json: Edit) -> None:
    assert "The layout of the channels" not in render(registry_project)
    plant(registry_project, edit_json)
    page = render(registry_project)
    assert f"Time of a call: {SAID}." in page
    assert '<tr class="ours"><th scope="row">share, sum<small>won</small></th>' in page
    assert '<tr><th scope="row">root_&lt;width&gt;</th>' in page


def test_a_layout_by_multiply_adds_has_no_time(registry_project: StageContext, edit_json: Edit) -> None:
    plant(registry_project, edit_json)
    by_macs = {k: CHANNELS[k] for k in ("structure", "rule", "layout", "whole_layout", "cost_kept", "tried")}
    by_macs["cost"] = "macs"
    edit_json(registry_project.artifact("search", "metrics.json"), lambda m: m.update(channels=by_macs))
    evidence = read_evidence(registry_project)
    assert build_card(registry_project, evidence, [], REGISTRATION)["predicted_time"] is None
    assert "40.0% of the multiply-adds" in render(registry_project)
    assert time_of_layout(registry_project.root, "zero") is None
