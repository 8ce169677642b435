"""The Prefect flow `seam-sweep`: points on Dask's workers, failures apart, what is finished never computed again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed, Failed
from pydantic import Field

from flows import display, preflight, run_page
from flows.commands.problems import extend_problems
from flows.project import project_root
from flows.stage_cache import shared_cache
from flows.subjects import stoppable
from flows.sweeps.cluster import ClusterError, local_cluster, only_one, settle_dask
from flows.sweeps.errands import Errand, errands_of
from flows.sweeps.patience import patiently
from flows.sweeps.plan import Point, SweepPlan, points_of
from flows.sweeps.records import Records
from flows.sweeps.report import write_report
from flows.sweeps.work import Job, Outcome, work
from seam.errors import ConfigError, SeamError
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.subject import Address
from tasks.tracking.sweeps import SweepRuns

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


@task(name="point", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def run_point(label: str, job: Job) -> dict[str, Any] | State[Any]:
    """One job on a worker."""
    try:
        return work(job).to_json()
    except SeamError as e:
        logger.debug("%s failed", label, exc_info=True)
        return Failed(message=" ".join(str(e).split()))


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


class Sweep:
    """One sweep that is going on: the only one that writes its records, the project's locks and its runs in MLflow."""

    def __init__(self, root: Path, plan: SweepPlan, records: Records, total: int, address: str) -> None:
        from prefect_dask.task_runners import DaskTaskRunner

        self._root, self._records, self._total, self._address = root, records, total, address
        self._label = f"sweep {plan.name}"
        self._runs = SweepRuns(root, load_params(root / "params.yaml").register_model.experiment, plan.name)
        self._runner: Any = DaskTaskRunner(address=address)
        self._failed: dict[str, str] = {}
        self._done = 0
        self._here: list[Address] = []
        """Stages that were done for params.yaml as it is; their outputs are checked out at the end."""

    def __enter__(self) -> Sweep:
        self._runner.__enter__()
        try:
            workers = self._runner.client.scheduler_info()["workers"]
        except OSError as e:
            raise ClusterError(
                f"no scheduler answers at {self._address}; start it (seam scheduler), or correct --scheduler."
            ) from e
        if not workers:
            display.current().info(f"no worker is there yet: seam worker --scheduler {self._address} --folder DIR")
        self._runs.begin()
        display.current().started(self._label)
        return self

    def __exit__(self, *error: Any) -> None:
        status = "FINISHED" if error[0] is None and not self._failed else "FAILED"
        patiently(lambda: self._runs.end(status))
        self._runner.__exit__(*error)

    def run(self, errands: Sequence[Errand]) -> dict[str, str]:
        """Hand out everything as soon as what it waits for is there.

        Returns:
            Key of each point that failed -> why, in one line.

        Raises:
            ClusterError: the scheduler is gone.
        """
        started = time.perf_counter()
        waiting = [e for e in errands if e.waits_for is not None]
        going = {e.job.key: (e, self._submit(e)) for e in errands if e.waits_for is None}
        while going:
            ended = [key for key, (_, future) in going.items() if future.wrapped_future.done()]
            if not ended:
                self._check_scheduler()
                time.sleep(_POLL_SECONDS)
            for key in ended:
                errand, future = going.pop(key)
                error = self._take(errand, future)
                ready = [e for e in waiting if e.waits_for == key]
                waiting = [e for e in waiting if e.waits_for != key]
                if error:
                    for follower in ready:
                        self._fail(follower, f"{key}: {error}")
                else:
                    going |= {e.job.key: (e, self._submit(e)) for e in ready}
                self._show_progress(len(going))
        self._check_out()
        summary = {"points": self._total, "failed": len(self._failed)}
        display.current().ran(self._label, time.perf_counter() - started, summary)
        return self._failed

    def _submit(self, errand: Errand) -> Any:
        return self._runner.submit(run_point, parameters={"label": errand.job.key, "job": errand.job})

    def _take(self, errand: Errand, future: Any) -> str:
        """Write down how an errand ended; why it failed, in one line, empty where it did not."""
        try:
            outcome = Outcome(**future.result())
        except SeamError:
            raise
        except Exception as e:
            self._check_scheduler()
            line = _why(e)
            self._fail(errand, line)
            return line
        if not errand.setting.changes:
            shared_cache(self._root).take(outcome.sections())
            if not errand.job.travels:
                self._here += [address for address, _ in outcome.sections()]
        if errand.point is None:
            if outcome.ran:
                display.current().part(outcome.key, f"{outcome.seconds:7.1f} s  ran {', '.join(outcome.ran)}")
            return ""
        self._done += 1
        self._records.keep(outcome.key, errand.basis, outcome)
        patiently(lambda: self._runs.point(outcome.key, errand.setting.values, outcome.card, outcome.seconds))
        display.current().part(outcome.key, _line_of(outcome))
        return ""

    def _fail(self, errand: Errand, line: str) -> None:
        if errand.point is None:
            display.current().part(errand.job.key, f"   {line}", good=False)
            return
        self._failed[errand.job.key] = line
        self._records.keep(errand.job.key, errand.basis, None, line)
        patiently(lambda: self._runs.failed(errand.job.key, errand.setting.values, line))
        display.current().part(errand.job.key, f"   {line}", good=False)

    def _show_progress(self, going: int) -> None:
        ended = self._done + len(self._failed)
        text = f"{ended} of {self._total} points, {len(self._failed)} failed, {going} going on or next"
        display.current().progress(self._label, ended / self._total, text)

    def _check_scheduler(self) -> None:
        if self._runner.client.status == "running":
            return
        raise ClusterError(
            f"the scheduler at {self._address} is gone; {self._done} of {self._total} points are done and kept;"
            " start it and run the same again."
        )

    def _check_out(self) -> None:
        """The outputs of what was done for params.yaml as it is, where they are in this cache."""
        cache = shared_cache(self._root)
        cache.check_out(dict.fromkeys(self._here))
        cache.save()


def _why(error: BaseException) -> str:
    name, text = type(error).__name__, " ".join(str(error).split())
    if name == "KilledWorker":
        return "its worker died each time it was tried (out of memory?); see .seam/worker.log in the worker's folder"
    if name == "FailedRun":
        return text
    return f"unexpected {name}: {text}; the traceback is in the worker's log"


def _line_of(outcome: Outcome) -> str:
    card = outcome.card
    figures = [f"{outcome.seconds:7.1f} s"]
    if card.get("accuracy") is not None:
        figures.append(f"accuracy {card['accuracy']:.4g}")
    if card.get("density") is not None:
        figures.append(f"density {card['density']:.4g}")
    if not outcome.ran:
        figures.append("found, not computed")
    return "  ".join(figures)


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
