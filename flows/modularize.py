"""The Prefect flow `seam-modularize`: the source taken apart into a module a class."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Modularizations, Overrides, ParamsFile
from flows.subjects import run_subjects
from tasks.project.stages import MODULARIZATION


@flow(name="seam-modularize", description=__doc__, log_prints=False)
def run_modularizations(
    overrides: Overrides | None = None,
    params_file: ParamsFile | None = None,
    modularizations: Modularizations | None = None,
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "modularizations={parts: {method: decomposition}}".
        params_file: a file whose values replace those in params.yaml.
        modularizations: their names; every one if empty, or if `all` is among them.
    """
    return run_subjects(MODULARIZATION, overrides, params_file, modularizations)
