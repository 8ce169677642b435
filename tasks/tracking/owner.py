"""Which process works on a run or a model, as tags; whether it is still there."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil


def owner_tags() -> dict[str, str]:
    """Of this process."""
    process = psutil.Process()
    return {
        "seam.host": socket.gethostname(),
        "seam.pid": str(process.pid),
        "seam.process_start": str(process.create_time()),
    }


def may_be_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process that these tags name goes on; on another host it may."""
    if tags.get("seam.host") != socket.gethostname():
        return "seam.host" in tags
    try:
        started = float(psutil.Process(int(tags["seam.pid"])).create_time())
        return abs(started - float(tags["seam.process_start"])) < 1
    except (psutil.Error, KeyError, ValueError):
        return False
