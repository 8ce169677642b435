"""The Prefect flow `seam-restructure`: the source with fewer blocks, or with some of them trained again."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Overrides, ParamsFile, Restructurings
from flows.subjects import run_subjects
from tasks.project.stages import RESTRUCTURING


@flow(name="seam-restructure", description=__doc__, log_prints=False)
def run_restructurings(
    overrides: Overrides | None = None,
    params_file: ParamsFile | None = None,
    restructurings: Restructurings | None = None,
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "restructurings={flat: {threshold: 0.95}}".
        params_file: a file whose values replace those in params.yaml.
        restructurings: their names; every one if empty, or if `all` is among them.
    """
    return run_subjects(RESTRUCTURING, overrides, params_file, restructurings)
