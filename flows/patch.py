"""The Prefect flow `seam-patch`: weak models mended by modules, which are made first where they are not there yet."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.form import Overrides, ParamsFile, Patches
from flows.subjects import run_subjects
from tasks.project.stages import PATCH


@flow(name="seam-patch", description=__doc__, log_prints=False)
def run_patches(
    overrides: Overrides | None = None, params_file: ParamsFile | None = None, patches: Patches | None = None
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "patches={fix: {of: parts, class: coat}}".
        params_file: a file whose values replace those in params.yaml.
        patches: their names; every one if empty, or if `all` is among them.
    """
    return run_subjects(PATCH, overrides, params_file, patches)
