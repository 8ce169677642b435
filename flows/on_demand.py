"""The Prefect flow `seam-on-demand`: target problems, with a form of what may be changed in place of text."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.changes import Changes, overrides_of
from flows.form import Problems
from flows.pipeline import BEFORE
from flows.subjects import run_subjects
from tasks.project.stages import PROBLEM


@flow(name="seam-on-demand", description=__doc__, log_prints=False)
def run_on_demand(problems: Problems | None = None, here: bool = False, changes: Changes | None = None) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        problems: target problems; every one if empty, or if `all` is among them.
        here: take times anew, on this machine, that were taken on another.
        changes: parameters to change in params.yaml, where they stay; what is left empty is as it is there.
    """
    overrides = overrides_of(changes) if changes else []
    return run_subjects(PROBLEM, overrides, None, problems, before=BEFORE, here=here)
