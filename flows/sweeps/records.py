"""What a sweep has found so far: sweeps/NAME, a small file a point, written by the one process that leads it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.sweeps.plan import Point, SweepPlan
from flows.sweeps.work import Outcome
from seam.files import read_json, write_json

State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True)
class Record:
    """How a point ended."""

    key: str
    state: State
    basis: str
    """A digest of all that decides its result: one that has another is of an earlier sweep."""
    outcome: Mapping[str, Any]
    """`Outcome` as JSON; empty where it failed."""
    error: str
    """The line of one that failed."""


class Records:
    """Of one sweep."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / "sweeps" / name

    def begin(self, plan: SweepPlan, points: Iterable[Point]) -> None:
        """Keep what is asked for, and which points that makes."""
        content = {
            "plan": plan.model_dump(mode="json"),
            "points": [
                {
                    "key": point.key,
                    "kind": point.subject.kind,
                    "subject": point.subject.name,
                    "setting": point.setting.values,
                }
                for point in points
            ],
        }
        write_json(self.folder / "sweep.json", content)

    def begun(self) -> dict[str, Any] | None:
        """The plan, and its points in order; None before the sweep began."""
        path = self.folder / "sweep.json"
        return read_json(path) if path.is_file() else None

    def read(self, key: str) -> Record | None:
        """What is known of a point; None: nothing."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return Record(**read_json(path))
        except (ValueError, TypeError):  # cut off, or of another version: found again
            return None

    def done(self, key: str, basis: str) -> bool:
        """Whether a point ended well, and nothing that decides its result has changed since."""
        record = self.read(key)
        return record is not None and record.state == "done" and record.basis == basis

    def keep(self, key: str, basis: str, outcome: Outcome | None, error: str = "") -> None:
        """Write how a point ended."""
        write_json(
            self._path(key),
            {
                "key": key,
                "state": "failed" if outcome is None else "done",
                "basis": basis,
                "outcome": {} if outcome is None else outcome.to_json(),
                "error": error,
            },
        )

    def _path(self, key: str) -> Path:
        """Of a name that any file system takes, and that tells every two keys apart."""
        readable = re.sub(r"[^a-z0-9_.=-]+", "_", key.lower())[:80]
        return self.folder / "points" / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.json"


def digest(*content: Any) -> str:
    """Of all that decides a result."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
