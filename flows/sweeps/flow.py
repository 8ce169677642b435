"""The Prefect flow `seam-sweep`: points on Dask's workers, failures apart, what is finished never computed again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed, Failed
from pydantic import Field

from flows import display, preflight, run_page
from flows.commands.problems import extend_problems
from flows.project import project_root
from flows.stage_cache import shared_cache
from flows.subjects import stoppable
from flows.sweeps.cluster import local_cluster, only_one, settle_dask
from flows.sweeps.errands import Errand, errands_of
from flows.sweeps.leading import Sweep
from flows.sweeps.plan import Point, SweepPlan, points_of
from flows.sweeps.records import Records
from flows.sweeps.report import write_report
from seam.errors import ConfigError, SeamError
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1


@flow(name="seam-sweep", description=__doc__, log_prints=False)
def run_sweep(
    plan: SweepPlan | None = None,
    workers: Annotated[int, Field(ge=0)] = 0,
    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls)://[^:]+:\d+$")] | None = None,
) -> State[Any]:
    """Do every point of a plan that is not done.

    Args:
        plan: what is asked for; every problem of params.yaml as it is if nothing is said.
        workers: on this machine; 0: one for every two cores. Not with a scheduler.
        scheduler: address of one that has workers already: tcp://HOST:PORT.
    """
    run_page.claim_run()
    with run_page.logs_on_page(), TagsContext(current_tags=set()):
        try:
            root = project_root()
            plan = plan or SweepPlan()
            with (
                stoppable(root, load_params(root / "params.yaml")),
                only_one(root, f"sweep-{plan.name}", f"sweep {plan.name}"),
            ):
                return lead(root, plan, workers, scheduler)
        except SeamError as e:
            logger.debug("sweep failed", exc_info=True)
            return Failed(message=str(e))


def lead(root: Path, plan: SweepPlan, workers: int, scheduler: str | None) -> State[Any]:
    """Begin, hand out what is to be done, write down what comes back, and render the report."""
    if plan.every_class or plan.superclasses:
        display.current().info(extend_problems(root, plan.every_class, plan.superclasses))
    points = points_of(plan, root / "params.yaml")
    check(root, points, scheduler)
    errands, records = errands_of(root, points, travels=scheduler is not None), Records(root, plan.name)
    records.begin(plan, points)
    todo = [e for e in errands if e.point and not records.done(e.job.key, e.basis)]
    if len(todo) < len(points):
        display.current().info(f"{len(points) - len(todo)} of {len(points)} points are done already")
    failed: dict[str, str] = {}
    if todo:
        with _cluster(root, workers, scheduler) as address, Sweep(root, plan, records, len(todo), address) as sweep:
            failed = sweep.run([*_needed(errands, todo), *todo])
    return verdict(plan, len(points), failed, write_report(root, records))


def check(root: Path, points: Sequence[Point], scheduler: str | None) -> None:
    """What every run checks before its first stage, and what workers elsewhere need.

    Raises:
        SeamError: what is missing.
    """
    params = load_params(root / "params.yaml")
    for kind in dict.fromkeys(point.subject.row for point in points):
        subjects = list(dict.fromkeys(p.subject for p in points if p.subject.row is kind))
        preflight.check(root, params, kind, subjects, shared_cache(root))
    if scheduler is None:
        return
    if not tracking_uri(root).startswith(("http://", "https://")):
        raise ConfigError(
            f"workers at {scheduler} need an MLflow server, got {tracking_uri(root)}; set MLFLOW_TRACKING_URI where the"
            " sweep is started (docs/operator.md)."
        )
    if not shared_cache(root).remotes():
        raise ConfigError(f"workers at {scheduler} need a DVC remote, got none; dvc remote add --default NAME URL.")


def _needed(errands: Sequence[Errand], todo: Sequence[Errand]) -> list[Errand]:
    """Those that others wait for."""
    awaited = {errand.waits_for for errand in todo}
    return [errand for errand in errands if errand.job.key in awaited and errand.point is None]


@contextmanager
def _cluster(root: Path, workers: int, scheduler: str | None) -> Iterator[str]:
    """The address of a scheduler with workers."""
    if scheduler is None:
        with local_cluster(root, workers) as address:
            yield address
    else:
        settle_dask()
        yield scheduler


def verdict(plan: SweepPlan, total: int, failed: Mapping[str, str], page: Path) -> State[Any]:
    """The end of the flow, in one line."""
    if not failed:
        return Completed(message=f"{total} of {total} points done; {page}")
    first, line = next(iter(failed.items()))
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return Failed(
        message=f"{len(failed)} of {total} points failed: {first}: {line.rstrip('.')}{more}; "
        f"seam sweep status {plan.name} lists them, the same command tries those again"
    )
