"""What a worker does: the stages of one subject under one setting, each looked for first, in its own folder."""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flows.project import log_to_file
from flows.stage_cache import StageCache, shared_cache
from flows.staleness import registers, up_to_date
from flows.sweeps.patience import patiently
from seam.errors import ConfigError
from seam.files import read_json, write_text
from tasks.project.code_digests import digests_path
from tasks.project.layout import lay_out
from tasks.project.params import load_params
from tasks.project.stage import StageContext, execute
from tasks.project.subject import Address, StageRun, Subject, stage_folder
from tasks.report.headline import headline

logger = logging.getLogger(__name__)

FOLDER = "SEAM_WORKER_FOLDER"
"""Environment variable of a worker: its working folder."""


@dataclass(frozen=True)
class Job:
    """What is sent to a worker; a few kilobytes, and no data."""

    key: str
    """What it is called where people read it."""
    params: str
    """The text of params.yaml."""
    subject: Subject | None
    """None: the stages of the project alone."""
    runs: tuple[StageRun, ...]
    """What is to be done, in this order; what is done already is skipped."""
    code: dict[str, str]
    """The digest of each of these stages' code where the sweep was started: a worker with other code refuses."""
    tracking_uri: str
    """Of MLflow."""
    travels: bool
    """Whether results go through DVC's remote; they lie in a cache in common otherwise."""


@dataclass(frozen=True)
class Outcome:
    """What comes back: the records, which are small; results lie in DVC's cache or remote."""

    key: str
    recorded: list[list[str]]
    """For each stage its dvc.yaml, its name there, and its section of the dvc.lock beside it."""
    card: dict[str, Any]
    """What the subject's last stage published of itself, in figures; empty for the project."""
    ran: tuple[str, ...]
    """Labels of the stages that ran; the others were found."""
    found: tuple[str, ...]
    seconds: float
    worker: str
    """Which one, as host:folder."""

    def sections(self) -> list[tuple[Address, str]]:
        """What was recorded of each stage."""
        return [(Address(file, name), section) for file, name, section in self.recorded]

    def to_json(self) -> dict[str, Any]:
        """As a file holds it."""
        return asdict(self)


def code_digests(root: Path) -> dict[str, str]:
    """The digest of the code of every stage, as it is now."""
    with shared_cache(root).at_once():
        found: dict[str, str] = read_json(digests_path(root))["code"]
    return found


def work(job: Job) -> Outcome:
    """Do a job in this worker's folder.

    Raises:
        ConfigError: the worker has other code than the sweep.
        SeamError: a stage failed.
    """
    root = Path(os.environ.get(FOLDER) or Path.cwd())
    started = time.perf_counter()
    with _entered(root, job):
        cache = shared_cache(root)
        mine = code_digests(root)
        other = [stage for stage, digest in job.code.items() if mine.get(stage) != digest]
        if other:
            raise ConfigError(
                f"{root}: this worker's code of {', '.join(other)} is not that of the sweep; bring the same commit"
                " there, with no change of its own, and start the worker again."
            )
        ran: list[str] = []
        found: list[str] = []
        for run in job.runs:
            (ran if _run_one(cache, root, run, job.travels) else found).append(run.label)
        cache.save()
        return Outcome(
            job.key,
            [[stage.file, stage.name, section] for stage, section in cache.recorded(run.address for run in job.runs)],
            _card(root, job.subject),
            tuple(ran),
            tuple(found),
            round(time.perf_counter() - started, 2),
            f"{os.uname().nodename}:{root}",
        )


def _run_one(cache: StageCache, root: Path, run: StageRun, travels: bool) -> bool:
    """Whether a stage ran; its outputs were here, or came from the cache or the remote, otherwise."""
    if up_to_date(cache, root, run):
        return False
    restored = patiently(lambda: cache.restore(run.address, travels=travels))
    if restored and (not registers(run.stage) or up_to_date(cache, root, run)):
        return False
    logger.info("%s: begins", run.label)
    body = getattr(importlib.import_module(f"tasks.{run.stage}"), run.stage)
    context = StageContext(run.stage, load_params(root / "params.yaml"), root, run.subject)
    patiently(lambda: cache.run(run.address, lambda: execute(body, context)))
    if travels:
        patiently(lambda: cache.send(run.address))
    logger.info("%s: is kept", run.label)
    return True


@lru_cache(maxsize=1)
def _log_here(root: Path) -> None:
    """The records of this process go to the log of its folder, from the first job on."""
    log_to_file(root)


@contextmanager
def _entered(root: Path, job: Job) -> Iterator[None]:
    """In the worker's folder, with the job's parameters and MLflow's address; as it was afterwards."""
    if not (root / "params.yaml").is_file():
        raise ConfigError(
            f"{root}: expected a worker's folder, with params.yaml and dvc.yaml, got none; seam worker --folder DIR."
        )
    _log_here(root)
    before, variable = Path.cwd(), os.environ.get("MLFLOW_TRACKING_URI")
    os.chdir(root)
    os.environ["MLFLOW_TRACKING_URI"] = job.tracking_uri
    try:
        if (root / "params.yaml").read_text() != job.params:
            write_text(root / "params.yaml", job.params)
        lay_out(root, load_params(root / "params.yaml"))
        yield
    finally:
        os.chdir(before)
        os.environ.pop("MLFLOW_TRACKING_URI")
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def _card(root: Path, subject: Subject | None) -> dict[str, Any]:
    """The figures of a subject's card, or of its report where nothing is registered."""
    if subject is None:
        return {}
    registers, reports = subject.row.registers, subject.row.reports
    path = (
        stage_folder(root, registers, subject) / "card.json"
        if registers
        else stage_folder(root, reports, subject) / "metrics.json"
    )
    return headline(read_json(path)) if path.is_file() else {}
