"""The Prefect flow `seam-select`: trained networks ranked for images before anything is trained."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Overrides, ParamsFile, Selections
from flows.subjects import run_subjects
from tasks.project.stages import SELECTION


@flow(name="seam-select", description=__doc__, log_prints=False)
def run_selections(
    overrides: Overrides | None = None, params_file: ParamsFile | None = None, selections: Selections | None = None
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "selections={best: {candidates: [weights]}}".
        params_file: a file whose values replace those in params.yaml.
        selections: their names; every one if empty, or if `all` is among them.
    """
    return run_subjects(SELECTION, overrides, params_file, selections)
