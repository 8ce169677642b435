"""The Prefect flow `seam-compose`: modules, made first where they are not there yet, put together and registered."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Compositions, Overrides, ParamsFile
from flows.subjects import run_subjects
from tasks.project.stages import COMPOSITION


@flow(name="seam-compose", description=__doc__, log_prints=False)
def run_compositions(
    overrides: Overrides | None = None, params_file: ParamsFile | None = None, compositions: Compositions | None = None
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "compositions={few: {of: [parts], classes: [a, b]}}".
        params_file: a file whose values replace those in params.yaml.
        compositions: their names; every one if empty, or if `all` is among them.
    """
    return run_subjects(COMPOSITION, overrides, params_file, compositions)
