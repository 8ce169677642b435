"""The rounds of a search in its run, as they come."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mlflow import MlflowClient

from seam.errors import TrackingError
from tasks.project.stage import StageContext
from tasks.tracking.evidence import SEARCH_HISTORY, History, log_history
from tasks.tracking.runs import open_run, status_of
from tasks.tracking.store import LOST, connect, one_line

logger = logging.getLogger(__name__)

COLUMNS = ("cross_entropy", "density", "val_accuracy")
"""Of a round, those that are logged."""
FLUSH_SECONDS = 5.0


class SearchLogger:
    """Logs the rounds of a search as they come; a lost server costs one warning, register_model logs the rest.

    Use it as a context manager. After the block the run waits (SCHEDULED) for the stages that
    follow; FAILED on an error, KILLED where the process was told to stop.
    """

    def __init__(self, context: StageContext) -> None:
        self._rows: list[dict[str, Any]] = []
        self._flushed = 0.0
        self._client: MlflowClient | None = None
        try:
            self._client = connect(context.root)
            self._run_id = open_run(context, self._client)
        except (TrackingError, *LOST) as e:
            self._give_up(e)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one round: round, cross_entropy, density, val_accuracy."""
        if self._client is None:
            return
        self._rows.append({"round": row["round"], **{name: row[name] for name in COLUMNS}})
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:  # not every round: one may take milliseconds
            self._flush()

    def __enter__(self) -> SearchLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._client is None:
            return
        try:
            self._client.update_run(self._run_id, status=status_of(error) if error else "SCHEDULED")
        except LOST as e:
            self._give_up(e)

    def _flush(self) -> None:
        if self._client is None:
            return
        try:
            log_history(self._client, self._run_id, History(SEARCH_HISTORY, "round", self._rows))
        except LOST as e:
            self._give_up(e)
        self._rows.clear()
        self._flushed = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        self._client = None
        logger.warning(
            "MLflow is not followed from here on, the search goes on and its history is logged at the end: %s",
            one_line(error),
        )
