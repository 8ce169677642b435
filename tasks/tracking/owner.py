"""Which process works on a run or a model, as tags; whether it is still there."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.project.process import Worker


def owner_tags() -> dict[str, str]:
    """Of this process."""
    worker = Worker.this()
    return {
        "seam.host": worker.host,
        "seam.machine": str(worker.machine),
        "seam.pid": str(worker.pid),
        "seam.process_start": str(worker.started),
    }


def owner_of(tags: Mapping[str, str]) -> Worker | None:
    """The process that tags name; None where they name none."""
    try:
        started = float(tags["seam.process_start"])
        return Worker(tags["seam.host"], tags.get("seam.machine"), int(tags["seam.pid"]), started)
    except (KeyError, ValueError):
        return None
