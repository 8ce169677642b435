"""A sweep that is going on: what is handed out, what comes back, and who writes it down."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows import display
from flows.stage_cache import shared_cache
from flows.sweeps.cluster import ClusterError
from flows.sweeps.errands import Errand
from flows.sweeps.patience import patiently
from flows.sweeps.plan import SweepPlan
from flows.sweeps.records import Records
from flows.sweeps.work import Job, Outcome, work
from seam.errors import SeamError
from tasks.project.params import load_params
from tasks.project.subject import Address
from tasks.report.sweep_rows import duration
from tasks.tracking.sweeps import SweepRuns

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1


@task(name="point", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def run_point(label: str, job: Job) -> dict[str, Any] | State[Any]:
    """One job on a worker."""
    try:
        return work(job).to_json()
    except SeamError as e:
        logger.debug("%s failed", label, exc_info=True)
        return Failed(message=" ".join(str(e).split()))


class Sweep:
    """One sweep that is going on: the only one that writes its records, the project's locks and its runs in MLflow."""

    def __init__(self, root: Path, plan: SweepPlan, records: Records, total: int, address: str) -> None:
        from prefect_dask.task_runners import DaskTaskRunner

        self._root, self._records, self._total, self._address = root, records, total, address
        self._label = f"sweep {plan.name}"
        self._runs = SweepRuns(root, load_params(root / "params.yaml").register_model.experiment, plan.name)
        self._runner: Any = DaskTaskRunner(address=address)
        self._started = time.perf_counter()
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
        display.current().ran(self._label, time.perf_counter() - self._started, summary)
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
        seconds = (time.perf_counter() - self._started) / max(ended, 1) * (self._total - ended)
        left = f", about {duration(seconds)} left" if 0 < ended < self._total else ""
        text = f"{ended} of {self._total} points, {len(self._failed)} failed, {going} going on or next{left}"
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
