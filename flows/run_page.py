"""What a run's page in Prefect shows: log lines, a table a stage, progress, links.

And the end of runs that were killed.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed

from flows.display import value_text
from flows.temporary_server import answers
from seam.files import read_json
from tasks.project.environment import tracking_uri
from tasks.project.process import Worker
from tasks.project.stage import StageResult
from tasks.project.subject import Subject, stage_folder

logger = logging.getLogger(__name__)

OUR_LOGGERS = ("seam", "tasks", "flows")
PROGRESS_SECONDS = 3.0
BY_HAND = "by-hand"
"""Tag of a run that no worker started."""


@contextmanager
def logs_on_page() -> Iterator[None]:
    """Send the records of our own loggers to the run that is going on."""
    handler = APILogHandler()
    levels = {name: logging.getLogger(name).level for name in OUR_LOGGERS}
    for name in OUR_LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)


class _Page:
    """What is shown on it may be missing; a stage goes on without, and does not wait for a server that was lost."""

    def __init__(self) -> None:
        self._lost = False

    def show(self, what: str, put: Callable[[], None]) -> None:
        """Call `put`, unless the server did not answer last time and does not now."""
        if self._lost and not answers(PREFECT_API_URL.value() or "", timeout=2):
            return
        self._lost = False
        try:
            put()
        except Exception as e:
            self._lost = isinstance(e, httpx.TransportError)  # after minutes of asking
            logger.debug("%s not shown", what, exc_info=True)


_PAGE = _Page()


class ProgressOnPage:
    """The progress of one stage as an artifact, updated every few seconds; created by the first call."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._id: UUID | None = None
        self._last = 0.0

    def __call__(self, share: float, text: str) -> None:
        """Take progress as `StageContext.progress` does."""
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        _PAGE.show(f"progress of {self._label}", lambda: self._show(100 * min(max(share, 0.0), 1.0), text))

    def close(self) -> None:
        """Show a stage that showed progress as done."""
        if self._id is not None:
            self._last = 0.0
            self(1.0, f"{self._label}: done")

    def _show(self, percent: float, text: str) -> None:
        if self._id is None:
            made = create_progress_artifact(percent, key=artifact_key(f"{self._label} progress"), description=text)
            self._id = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._id, percent, description=text)


def show_result(label: str, result: StageResult) -> None:
    """A table of the stage's numbers and files."""
    rows = [{"measure": name.replace("_", " "), "value": value_text(value)} for name, value in result.summary.items()]
    files = "\n".join(f"- `{name}`" for name in result.files)

    def put() -> None:
        create_table_artifact(rows, key=artifact_key(label), description=f"**{label}**\n\n{files}")

    _PAGE.show(f"results of {label}", put)


def show_links(root: Path, subject: Subject) -> None:
    """Links to the report of a subject and to its MLflow run."""
    _PAGE.show(f"links of {subject}", lambda: _show_links(root, subject))


def _show_links(root: Path, subject: Subject) -> None:
    report = stage_folder(root, subject.row.reports, subject) / "report.html"
    if report.is_file():
        create_link_artifact(
            report.as_uri(),
            link_text=f"report of {subject}",
            key=artifact_key(f"report {subject}"),
            description=str(report),
        )
    if subject.row.registers is None:
        return
    card_file = stage_folder(root, subject.row.registers, subject) / "card.json"
    card = read_json(card_file) if card_file.is_file() else {}
    if "run_id" in card:
        _show_model(tracking_uri(root), subject, card)


def _show_model(uri: str, subject: Subject, card: dict[str, object]) -> None:
    name, version, run_id = card.get("registered_model"), card.get("version"), card["run_id"]
    key = artifact_key(f"model {subject}")
    if uri.startswith(("http://", "https://")):
        link = f"{uri.rstrip('/')}/#/models/{name}/versions/{version}"
        create_link_artifact(link, link_text=f"{name} version {version}", key=key, description=f"MLflow run {run_id}")
    else:
        create_markdown_artifact(
            f"Model `{name}` version {version}, MLflow run `{run_id}` in `{uri}`; `mlflow ui` shows it.", key=key
        )


def artifact_key(text: str) -> str:
    """Prefect's artifact keys: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def process_tags() -> list[str]:
    """Tags of a run that say which process runs it."""
    this = Worker.this()
    return [f"host:{this.host}", f"process:{this.pid}:{this.started:.0f}:{this.machine}"]


def claim_run() -> None:
    """Give the run that is going on the tags of this process, and end those that were killed.

    A hand-started one has them from the start; one that a worker starts again has those of its first
    process.
    """
    context, ours = FlowRunContext.get(), process_tags()
    run = context.flow_run if context else None
    if run is None or set(ours) <= set(run.tags):
        return
    others = [tag for tag in run.tags if not tag.startswith(("host:", "process:"))]
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags=[*others, *ours])
    end_killed_runs()


def end_killed_runs() -> int:
    """End runs of this machine whose process is gone, whoever started them (nobody else would); how many.

    CRASHED, or CANCELLED where that was asked for.
    """
    ended = 0
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=_unfinished_here()):
            worker = _worker(run.tags)
            if run.state is not None and worker is not None and worker.is_gone:
                end = Cancelled if run.state.is_cancelling() else Crashed
                client.set_flow_run_state(run.id, end(message="The process that ran it is gone."), force=True)
                ended += 1
    return ended


def _unfinished_here() -> FlowRunFilter:
    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    return FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
        tags=FlowRunFilterTags(all_=[f"host:{socket.gethostname()}"]),
    )


def _worker(tags: list[str]) -> Worker | None:
    """The process that a run's tags name."""
    for tag in tags:
        if tag.startswith("process:"):
            pid, started, *machine = tag.removeprefix("process:").split(":")
            return Worker(socket.gethostname(), machine[0] if machine else None, int(pid), float(started))
    return None
