"""The figures of a card that are compared, of every kind of subject, against what they are by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from seam.methods.catalogue import YARDSTICK
from tasks.project.stage import StageContext
from tasks.report.card import build_card, read_evidence
from tasks.report.headline import headline
from tasks.tracking.gates import Verdict
from tests.tasks.report.page import REGISTRATION

GATE = {"gate": "accuracy_drop", "passed": False, "text": "a drop of 9 points"}
REGISTERED = {**REGISTRATION, "registered_model": "seam-shop", "version": 3, "gates": [GATE], "warnings": ["odd"]}
CONDITIONS = {"engine": "onnxruntime", "batch_size": 8, "num_threads": 1}
MADE: dict[str, dict[str, Any]] = {
    "restructured": {
        "source": {"accuracy": 0.9, "params_total": 1000, "macs": 4000, "latency_ms_p50": 2.0},
        "restructured": {"accuracy": 0.8, "params_total": 250, "macs": 1000, "latency_ms_p50": 0.5},
    },
    "patched": {
        "weak": {"accuracy": 0.9, "params_nonzero": 1000, "macs_nonzero": 4000, "latency_ms_p50": 2.0},
        "patched": {"accuracy": 0.8, "params_nonzero": 250, "macs_nonzero": 1000, "latency_ms_p50": 0.5},
    },
    "composed": {
        "composed": {"accuracy": 0.8, "params_nonzero": 250, "macs_nonzero": 1000, "latency_ms_p50": 0.5},
        "best_source": {"accuracy": 0.9, "params_nonzero": 1000, "macs_nonzero": 4000, "latency_ms_p50": 2.0},
        "sources": {"accuracy": 0.95},
    },
    "modules": {
        "source": {"accuracy": 0.9, "params_total": 1000, "macs": 4000, "latency_ms_p50": 2.0},
        "composed": {"accuracy": 0.8, "params_total": 250, "macs": 1000, "latency_ms_p50": 0.5},
    },
}


def test_a_problem(registry_project: StageContext) -> None:
    evidence = read_evidence(registry_project)
    evidence.export["fastest"] = {
        "batch16": {
            "source": {"engine": "onnxruntime", "model": "source", "latency_ms_p50": 0.8},
            "reengineered": {"engine": "deepsparse", "model": "compacted", "latency_ms_p50": 0.2},
        }
    }
    card = build_card(registry_project, evidence, [Verdict("accuracy_drop", True, "fine")], REGISTRATION)
    found = headline(json.loads(json.dumps(card)))
    source, ours = evidence.evaluated["source"], evidence.evaluated["reengineered_finetuned"]
    assert (found["accuracy"], found["original_accuracy"]) == (ours["accuracy"], source["accuracy"])
    assert found["density"] == ours["params_nonzero"] / source["params_nonzero"]
    assert (found["macs"], found["original_macs"]) == (ours["macs_nonzero"], source["macs_nonzero"])
    assert (found["latency_ms_p50"], found["original_latency_ms_p50"], found["batch_size"]) == (0.2, 0.8, 16)
    assert (found["engine"], found["original_engine"]) == ("deepsparse", "onnxruntime")
    attacked = evidence.attacked
    assert found["defect_inheritance_rate"] == attacked["reengineered_finetuned"]["defect_inheritance_rate"]
    assert found["standard_defect_inheritance_rate"] == attacked["standard_finetuned"]["defect_inheritance_rate"]
    assert found["mask_sha256"] == evidence.hashes["mask_sha256"]
    assert (found["registered_model"], found["version"], found["aliases"]) == ("seam-zero", 1, ["champion"])
    assert found["gates"] == [{"gate": "accuracy_drop", "passed": True, "text": "fine"}]
    assert found["classes"] == card["classes"] and found["against"] == "source"


@pytest.mark.parametrize(
    ("kind", "against"),
    [("restructured", "source"), ("patched", "weak"), ("composed", "best_source"), ("modules", "source")],
)
def test_networks_that_are_made_of_others(kind: str, against: str) -> None:
    card = {**REGISTERED, **MADE[kind], "num_test": 40, "conditions": CONDITIONS, "classes": ["a", "b"]}
    found = headline(card)
    assert (found["accuracy"], found["original_accuracy"], found["density"]) == (0.8, 0.9, 0.25)
    assert (found["macs"], found["original_macs"]) == (1000, 4000)
    assert (found["latency_ms_p50"], found["original_latency_ms_p50"], found["batch_size"]) == (0.5, 2.0, 8)
    assert (found["against"], found["num_images"], found["num_classes"]) == (against, 40, 2)
    assert (found["gates"], found["warnings"], found["mask_sha256"]) == ([GATE], ["odd"], None)


def test_a_composition_whose_classes_no_source_has_is_held_against_all_of_them() -> None:
    found = headline({**REGISTERED, **MADE["composed"], "best_source": None, "conditions": CONDITIONS})
    assert (found["against"], found["original_accuracy"]) == ("sources", 0.95)
    assert found["density"] is found["original_macs"] is found["original_latency_ms_p50"] is None


def test_a_target() -> None:
    means = {"accuracy": {"mean": 0.9, "sd": 0.01}, "defect_inheritance_rate": {"mean": 0.6, "sd": None}}
    student = {"accuracy": 0.85, "defect_inheritance_rate": 0.2, "density_end": 0.5, "num_images": 30}
    found = headline({**REGISTERED, "methods": {YARDSTICK.name: means}, "registered": student})
    assert (found["accuracy"], found["original_accuracy"], found["against"]) == (0.85, 0.9, YARDSTICK.name)
    assert (found["defect_inheritance_rate"], found["standard_defect_inheritance_rate"]) == (0.2, 0.6)
    assert (found["density"], found["latency_ms_p50"], found["batch_size"]) == (0.5, None, None)
    nothing = headline({**REGISTERED, "methods": {YARDSTICK.name: means}, "registered": None})
    assert nothing["accuracy"] is None and nothing["density"] is None


def test_what_is_not_there_is_none_and_what_is_no_number_too() -> None:
    assert headline({})["accuracy"] is None
    odd = {"source": {"accuracy": float("nan"), "params_total": 0}, "restructured": {"accuracy": True, "macs": "9"}}
    found = headline(odd)
    assert found["accuracy"] is found["original_accuracy"] is found["density"] is found["macs"] is None


def test_it_stays_small_whatever_the_card_holds() -> None:
    names = [f"class number {i}" for i in range(1000)]
    found = headline({**REGISTERED, "classes": names, "warnings": ["w" * 5000] * 900, "params": {"x": "y" * 10**6}})
    assert found["num_classes"] == 1000 and found["classes"] == names[:12]
    assert len(found["warnings"]) == 41 and found["warnings"][-1].startswith("860 more")
    assert len(json.dumps(found)) < 20_000


def test_it_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, tasks.report.headline, tasks.report.sweep_rows;"
        " print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
