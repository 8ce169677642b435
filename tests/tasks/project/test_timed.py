"""Times that were taken on another machine are told from those of this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seam.files import write_json
from seam.hardware import describe, in_words
from tasks.project import timed
from tasks.project.subject import StageRun, Subject, stage_folder
from tasks.project.timed import elsewhere

BENCHMARK = StageRun("benchmark_latency", Subject("problem", "p"))
PROFILE = StageRun("profile_source")
OTHER = {**describe(), "cpu": "another CPU", "cores": 64, "gpu": "a GPU"}


def publish(root: Path, run: StageRun, file: str, content: dict[str, Any]) -> None:
    write_json(stage_folder(root, run.stage, run.subject) / file, content)


@pytest.mark.parametrize(
    ("run", "file", "key"), [(BENCHMARK, "export.json", "hardware"), (PROFILE, "times.json", "machine")]
)
def test_times_of_another_machine(tmp_path: Path, run: StageRun, file: str, key: str) -> None:
    assert elsewhere(tmp_path, run) is None  # nothing was timed yet
    publish(tmp_path, run, file, {key: {**describe(), "load_average": [9, 9, 9]}})
    assert elsewhere(tmp_path, run) is None
    publish(tmp_path, run, file, {key: OTHER})
    assert elsewhere(tmp_path, run) == "another CPU, 64 cores, a GPU"


def test_what_has_no_times_is_valid_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, PROFILE, "times.json", {"measured": False})
    assert elsewhere(tmp_path, PROFILE) is None
    search = StageRun("search", Subject("problem", "p"))
    publish(tmp_path, search, "metrics.json", {"computed_on": "another CPU", "machine": OTHER})
    assert elsewhere(tmp_path, search) is None
    publish(tmp_path, BENCHMARK, "export.json", {"hardware": dict(timed.here())})
    monkeypatch.setattr(timed, "here", lambda: OTHER)
    assert elsewhere(tmp_path, BENCHMARK) == in_words()
