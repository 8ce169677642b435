"""The Prefect flow `seam-transfer`: every student of every target, their comparison and the best one's registration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed, Failed

from flows import preflight, run_page
from flows.stage_task import Failure, run_one
from seam.errors import SeamError
from tasks.project.params import Params
from tasks.project.subject import stage_folder

logger = logging.getLogger(__name__)


@flow(name="seam-transfer", description=__doc__, log_prints=False)
def run_transfers(
    overrides: list[str] | None = None, params_file: str | None = None, targets: list[str] | None = None
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "transfer.seeds=[0, 1, 2]".
        params_file: a file whose values replace those in params.yaml.
        targets: names of the data sets to transfer to; every one if empty.
    """
    with run_page.logs_on_page():
        try:
            root, params, chosen = preflight.prepare(
                overrides, params_file, targets, preflight.chosen_targets, preflight.check_transfers
            )
        except SeamError as e:
            logger.debug("preflight failed", exc_info=True)
            return Failed(message=str(e))
        with TagsContext(current_tags=set()):  # as in `flows.pipeline`
            return verdict(run_stages(root, params, chosen), chosen)


def run_stages(root: Path, params: Params, targets: Sequence[str]) -> list[Failure]:
    """Run the stages in order; a target of which a stage fails is left, the others go on.

    A shared stage that fails ends all.

    A student that fails leaves the other students: the comparison is without it, and nothing is
    registered.
    """
    failures: list[Failure] = []
    for run in preflight.transfer_stages_of(params, targets):
        left = {f.problem for f in failures if f.student is None}
        if None in left or left.issuperset(targets):
            break
        if run.problem in left:
            continue
        incomplete = any(f.problem == run.problem for f in failures)
        if incomplete and (
            run.stage == "register_transfer"
            or (run.stage == "compare_transfers" and not _any_student(root, params, str(run.problem)))
        ):
            continue
        failure = run_one(root, run.stage, run.problem, run.student)
        if failure is not None:
            failures.append(failure)
    return failures


def _any_student(root: Path, params: Params, target: str) -> bool:
    return any(
        (stage_folder(root, "transfer", target, student) / "metrics.json").is_file()
        for student in params.transfer.students
    )


def verdict(failures: Sequence[Failure], targets: Sequence[str]) -> State[Any]:
    """The end of the flow: one readable line."""
    if not failures:
        return Completed(message=f"{len(targets)} of {len(targets)} targets done: {', '.join(targets)}.")
    lines = "; ".join(f.line.rstrip(".;") for f in failures)
    if any(f.problem is None for f in failures):
        return Failed(message=lines)
    return Failed(
        message=f"{len({f.problem for f in failures})} of {len(targets)} targets failed or are incomplete: {lines}"
    )
