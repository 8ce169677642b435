"""search on the small project by one pass: what metrics.json says of the layout that was chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seam.files import read_json, sha256_file
from seam.hardware import in_words
from seam.search.one_pass import RULES
from seam.search.time_table import save_times
from tasks.project.stage import StageContext, execute
from tasks.project.subject import Subject
from tasks.search import search
from tests.seam.search.planted import planted


@pytest.fixture
def project(registry_project: StageContext) -> StageContext:
    """The small project, split, its one convolution timed: half of its channels take half of the 10 ms."""
    labels = (np.arange(12) % 3 != 0).astype(np.int64)
    parts = {"train": np.arange(8), "val": np.arange(8, 12), "test": np.arange(6)}
    tensors = {**parts, **{f"y_{name}": labels[rows] for name, rows in parts.items()}, "spare": np.arange(0)}
    save_file(tensors, registry_project.artifact("split_dataset", "splits.safetensors"))
    source = sha256_file(registry_project.artifact("prepare_source", "source.safetensors"))
    times = registry_project.artifact("profile_source", "times.json")
    save_times(replace(planted(({"0": 2}, 5.0)), source_sha256=source), times)
    return registry_project


def searched(project: StageContext, **values: Any) -> dict[str, Any]:
    """What the stage publishes with these parameters."""
    one_pass = {"method": "one_pass", "structure": "channels", "channel_block": 2, "target": 0.7, "accuracy_floor": 0.0}
    changed = replace(project.params.search, **{**one_pass, "augment": "none", "negatives": "fixed", **values})
    runtime = replace(project.params.runtime, device="cpu", threads=1)
    training = replace(project.params.finetune, augment="none", negatives="fixed")
    update = {"search": changed, "runtime": runtime, "finetune": training}
    context = StageContext("search", project.params.model_copy(update=update), project.root, Subject("problem", "zero"))
    execute(search, context)
    metrics: dict[str, Any] = read_json(context.artifact("search", "metrics.json"))
    return metrics


def test_a_layout_in_milliseconds_has_its_time_and_the_conditions(project: StageContext) -> None:
    found = searched(project, cost="milliseconds")["channels"]
    assert (found["layout"], found["whole_layout"]) == ({"0": 2}, {"0": 4})
    assert found["predicted_latency_ms_p50"] == pytest.approx(5.0, rel=0.05)
    assert found["source_latency_ms_p50"] == pytest.approx(10.0)
    assert found["cost_kept"] == found["predicted_latency_ms_p50"] / found["source_latency_ms_p50"]
    assert (found["structure"], found["cost"], found["rule"]) == ("channels", "milliseconds", next(iter(RULES)))
    conditions = ("engine", "version", "batch_size", "num_threads", "machine")
    assert [found[name] for name in conditions] == ["onnxruntime", "1.0", 16, 1, {"cpu": "one"}]


def test_the_only_layout_is_named_with_all_rules_that_proposed_it(project: StageContext) -> None:
    (alone,) = searched(project, cost="milliseconds", layouts=3)["channels"]["tried"]
    assert alone == {"rules": list(RULES), "layout": {"0": 2}, "val_accuracy": None, "val_cross_entropy": None}


def test_a_layout_by_multiply_adds_has_no_time(project: StageContext) -> None:
    found = searched(project, cost="macs")["channels"]
    assert found["cost"] == "macs" and found["cost_kept"] == 0.5
    assert not {"predicted_latency_ms_p50", "engine", "machine"} & found.keys()


def test_a_search_by_scores_chooses_no_layout(project: StageContext) -> None:
    found = searched(project, method="budget", structure="weights", cost="weights", max_rounds=1)
    assert found["channels"] is None and found["computed_on"] == in_words()
