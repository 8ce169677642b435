"""The Prefect flow `seam-everything`: every entry of params.yaml, of whatever kind."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.pipeline import BEFORE
from flows.project import project_root
from flows.subjects import run_subjects
from seam.errors import SeamError
from tasks.project.params import load_params
from tasks.project.stages import KINDS
from tasks.project.subject import entries


@flow(name="seam-everything", description=__doc__, log_prints=False)
def run_everything(here: bool = False) -> State[Any]:
    """Run what is stale of every kind, one kind after the other, in the project around the working directory.

    Args:
        here: take times anew, on this machine, that were taken on another.
    """
    try:
        params = load_params(project_root() / "params.yaml")
    except SeamError as e:
        return Failed(message=str(e))
    kinds = [kind for kind in KINDS.values() if entries(params, kind)]
    ended = [run_subjects(kind, None, None, None, BEFORE, here) for kind in kinds]
    failed = [str(state.message) for state in ended if not state.is_completed()]
    if failed:
        return Failed(message="; ".join(line.rstrip(".;") for line in dict.fromkeys(failed)))
    return Completed(message=" ".join(str(state.message) for state in ended))
