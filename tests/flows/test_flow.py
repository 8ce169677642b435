"""The flow's own logic, with stub stages: order, what is skipped, what a failure does, what the run page shows."""

from __future__ import annotations

import importlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from rich.console import Console

from flows import display, preflight
from flows.commands.status import show_status
from flows.pipeline import run_pipeline
from flows.stage_cache import StageCache
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import address_of
from tests.flows.ran import ran, stage_runs, task_states

ALL = [
    "validate_data@None",
    "split_dataset@digit-3",
    "split_dataset@low-digits",
    "prepare_source@None",
    "profile_source@None",
    *(
        f"{stage}@{problem}"
        for problem in ("digit-3", "low-digits")
        for stage in ("search", "finetune", "evaluate", "evaluate_robustness", "benchmark_latency", "register_model")
    ),
]


def test_order_then_nothing_twice_then_only_what_is_stale(server: None, project: Path) -> None:
    """One project over time; the last but one step is a clone.

    It has the card in its artifacts, and an empty registry.
    """
    state = run_pipeline(return_state=True)
    assert state.is_completed(), state.message
    assert ran(project) == ALL
    again = run_pipeline(return_state=True)
    assert again.is_completed() and ran(project) == []
    states = task_states(again)
    assert len(states) == len(ALL) and set(states.values()) == {"Cached"}
    assert {"validate_data", "search [digit-3]", "register_model [low-digits]"} <= states.keys()
    (project / "mlflow/mlflow.db").unlink()
    shutil.rmtree(project / "artifacts/digit-3/search")
    assert run_pipeline(return_state=True).is_completed()
    assert ran(project) == ["register_model@digit-3", "register_model@low-digits"]
    assert run_pipeline(["search.alpha=0.5"], None, ["digit-3"], return_state=True).is_completed()
    done = ran(project)
    assert (
        done[0] == "search@digit-3"
        and "prepare_source@None" not in done
        and not any("low-digits" in name for name in done)
    )
    assert "alpha: 0.5" in (project / "params.yaml").read_text()


def test_of_many_problems_those_with_nothing_to_do_are_one_task(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.subjects.FOLDED_FROM", 2)
    assert run_pipeline(return_state=True).is_completed() and ran(project) == ALL
    first = ["validate_data", *(f"split_dataset [{p}]" for p in ("digit-3", "low-digits")), "prepare_source"]
    states = task_states(run_pipeline(return_state=True))
    assert states.keys() == {*first, "profile_source", "digit-3", "low-digits"} and set(states.values()) == {"Cached"}
    (project / "mlflow/mlflow.db").unlink()
    for problem in ("digit-3", "low-digits"):
        assert run_pipeline(problems=[problem], return_state=True).is_completed()
    assert ran(project) == ["register_model@digit-3", "register_model@low-digits"]
    state = run_pipeline(["problems.digit-3=['3', '4']"], return_state=True)
    states = task_states(state)
    assert states["low-digits"] == "Cached" and states["search [digit-3]"] == "Completed"
    assert "digit-3" not in states and "search [low-digits]" not in states
    assert not [name for name in ran(project) if name.endswith("low-digits")]


def test_a_failing_problem_does_not_stop_the_others(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAM_STUB", "search@digit-3=error")
    state = run_pipeline(return_state=True)
    assert state.is_failed()
    assert (
        state.message
        == "1 of 2 target problems failed: search [digit-3]: search: expected a good stage, got a bad one; mend it"
    )
    assert ran(project) == [name for name in ALL if not name.endswith("@digit-3") or name.startswith("split")]
    states = task_states(state)
    assert states["search [digit-3]"] == "Failed" and states["register_model [low-digits]"] == "Completed"
    assert "finetune [digit-3]" not in states
    monkeypatch.delenv("SEAM_STUB")
    assert run_pipeline(return_state=True).is_completed()
    assert ran(project) == [name for name in ALL if name.endswith("@digit-3") and not name.startswith("split")]


def test_searches_that_have_to_run_go_together(server: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone does not go together; a group that fails is left to the stages."""
    assert run_pipeline(["runtime.searches_together=4"], return_state=True).is_completed()
    assert ran(project) == [*ALL[:5], "together@digit-3+low-digits", *ALL[5:]]
    assert run_pipeline(["search.alpha=0.75"], None, ["digit-3"], return_state=True).is_completed()
    assert ran(project)[0] == "search@digit-3"
    monkeypatch.setenv("SEAM_STUB", "search@digit-3=error")
    state = run_pipeline(["search.alpha=0.5"], return_state=True)
    assert state.is_failed() and task_states(state)["search together"] == "Left"
    assert "search@low-digits" in ran(project)
    monkeypatch.delenv("SEAM_STUB")
    assert run_pipeline(["search.alpha=0.25", "runtime.searches_together=1"], return_state=True).is_completed()
    assert not [name for name in ran(project) if name.startswith("together")]


def test_a_gpu_searches_together_unless_told_not_to(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.project.timed.here", lambda: {"cpu": "a CPU", "gpu": "some GPU"})
    assert run_pipeline(return_state=True).is_completed()
    assert "together@digit-3+low-digits" in ran(project)
    assert run_pipeline(["runtime.device=cpu"], return_state=True).is_completed()
    assert not [name for name in ran(project) if name.startswith("together")]


def test_a_failing_shared_stage_stops_all(server: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_STUB", "prepare_source=crash")
    state = run_pipeline(return_state=True)
    assert state.is_failed()
    assert state.message == "prepare_source: unexpected ZeroDivisionError: a bug; the traceback is in the log"
    assert ran(project) == ALL[:3]
    assert not (project / "artifacts/prepare_source").exists()


@pytest.mark.parametrize(("what", "tries"), [("away", 2), ("error", 1), ("crash", 1)])
def test_registering_is_tried_again_where_no_server_answers_alone(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch, what: str, tries: int
) -> None:
    monkeypatch.setattr("flows.stage_task.RETRY_DELAYS", (0.1, 0.1))
    monkeypatch.setenv("SEAM_STUB", f"register_model@digit-3={what}")
    state = run_pipeline(problems=["digit-3"], return_state=True)
    assert state.is_completed() == (what == "away")
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (run,) = (
            run for run in client.read_task_runs(flow_run_filter=of_run) if run.name == "register_model [digit-3]"
        )
    assert run.run_count == tries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"problems": ["digit-4"]}, "unknown problem 'digit-4', expected one of: digit-3, low-digits"),
        ({"overrides": ["search.alpa=1"]}, "did you mean 'search.alpha'?"),
        ({"overrides": ["data.path=data/none.npz"]}, "does not exist"),
    ],
)
def test_bad_input_ends_failed_before_any_stage(
    server: None, project: Path, arguments: dict[str, Any], message: str
) -> None:
    state = run_pipeline(**arguments, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == [] and not (project / "artifacts").exists()


def test_what_a_run_page_shows(server: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_STUB", "search@digit-3=slow")
    state = run_pipeline(problems=["digit-3"], return_state=True)
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        made = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    kinds = {artifact.key: artifact.type for artifact in made}
    assert kinds["search-digit-3"] == "table"
    assert kinds["search-digit-3-progress"] == "progress"
    assert kinds["report-digit-3"] == "markdown" and "report.html" in next(
        str(a.data) for a in made if a.key == "report-digit-3"
    )
    progress = next(a for a in made if a.key == "search-digit-3-progress")
    assert progress.data == 100


def test_the_terminal_shows_one_line_a_stage(server: None, project: Path) -> None:
    console = Console(record=True, width=120, force_terminal=False)
    for _ in range(2):
        with display.shown_on(display.TerminalDisplay(console)):
            run_pipeline(problems=["digit-3"], return_state=True)
    lines = console.export_text().splitlines()
    stages = [stage.name for stage in PROBLEM.stages]
    assert len(lines) == 2 * len(stages) == 2 * stage_runs(problems=1)
    first, second = (lines[at + stages.index("search")] for at in (0, len(stages)))
    assert first.startswith("✓ search [digit-3]") and first.endswith("s  density 0.125  rounds 3")
    assert second.startswith("= search [digit-3]") and "up to date" in second


def test_status_answers_while_a_stage_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, of whatever the files say: DVC's own status would wait, and give up."""
    cache = StageCache(project)
    shown: list[str] = []

    def body() -> None:
        console = Console(record=True, width=200, file=io.StringIO())
        show_status(project, [], console)
        shown.extend(console.export_text().splitlines())
        context = StageContext("validate_data", load_params(project / "params.yaml"), project)
        importlib.import_module("tasks.validate_data").validate_data(context)

    cache.run(address_of("validate_data", None), body)
    cache.close()
    states = {tuple(cell.strip() for cell in line.split("\u2502")[1:4]) for line in shown if "\u2502" in line}
    assert ("validate_data", "", "running") in states and ("search", "digit-3", "stale") in states
    assert not [state for state in states if state[2] == "running" and state[0] != "validate_data"]


def test_full_disk_is_found_before_the_first_stage(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "LEAST_FREE_MIB", 2**40)
    state = run_pipeline(return_state=True)
    assert state.is_failed() and "the disk is full, free some space" in str(state.message)


def test_unreachable_tracking_server(server: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    state = run_pipeline(return_state=True)
    assert state.is_failed() and "MLflow server at http://127.0.0.1:9 does not answer" in str(state.message)
    assert ran(project) == []
