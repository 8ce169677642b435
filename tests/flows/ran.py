"""What a flow over stub stages did."""

from __future__ import annotations

import time
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
    """Task run name -> state name, of the flow run that ended in `state`.

    The server learns of the last tasks after the flow has ended: it is asked until it says the same twice.
    """
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

    of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    found: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        for _ in range(60):
            runs = client.read_task_runs(task_run_filter=of_run)
            before, found = found, {run.name: run.state.name for run in runs if run.state}
            if found == before and all(run.state and run.state.is_final() for run in runs):
                break
            time.sleep(0.5)
    return found


def stage_runs(problems: int) -> int:
    """How many stages run, once each, where so many problems have none of their results."""
    return sum(1 if stage.of == "project" else problems for stage in PROBLEM.stages)
