"""The Prefect flow `seam-transfer`: every student of every target, their comparison and the best one's registration."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Overrides, ParamsFile, Targets
from flows.subjects import run_subjects
from tasks.project.stages import TARGET


@flow(name="seam-transfer", description=__doc__, log_prints=False)
def run_transfers(
    overrides: Overrides | None = None, params_file: ParamsFile | None = None, targets: Targets | None = None
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "transfer.seeds=[0, 1, 2]".
        params_file: a file whose values replace those in params.yaml.
        targets: names of the data sets to transfer to; every one if empty, or if `all` is among them.
    """
    return run_subjects(TARGET, overrides, params_file, targets)
