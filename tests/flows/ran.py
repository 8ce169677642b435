"""What a flow over stub stages did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client

from tasks.project.stages import PROBLEM


def ran(root: Path) -> list[str]:
    """Stages that really ran, in order; forgotten by the next call."""
    record = root / "ran.txt"
    lines = record.read_text().splitlines() if record.is_file() else []
    record.unlink(missing_ok=True)
    return lines


def task_states(state: Any) -> dict[str, str]:
    """Task run name -> state name, of the flow run that ended in `state`."""
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

        runs = client.read_task_runs(
            task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    return {run.name: run.state.name for run in runs if run.state}


def stage_runs(problems: int) -> int:
    """How many stages run, once each, where so many problems have none of their results."""
    return sum(1 if stage.of == "project" else problems for stage in PROBLEM.stages)
