"""Which process works on something, so that any other can say later whether it is gone."""

from __future__ import annotations

import hashlib
import socket
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

_SAME_START = 2.0
"""Seconds that two readings of when a process started may differ."""


@dataclass(frozen=True)
class Worker:
    """A process of some machine."""

    host: str
    """The machine's name, for people; several may have the same."""
    machine: str | None
    """What tells machines of one name apart; None: not known (tags of an older version)."""
    pid: int
    started: float
    """Seconds since 1970: numbers of processes are given out again."""

    @classmethod
    def this(cls) -> Worker:
        """The process that asks."""
        process = psutil.Process()
        return cls(socket.gethostname(), this_machine(), process.pid, process.create_time())

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this machine and has ended; of one on another machine nobody here can say so."""
        if self.host != socket.gethostname() or self.machine not in (None, this_machine()):
            return False
        try:
            process = psutil.Process(self.pid)
            another = abs(process.create_time() - self.started) > _SAME_START
            return bool(another or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return True


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Digest of what is this machine's own; containers of one machine, which do not see each other's processes, differ.

    Host names are not enough: images of virtual machines and containers come with the same.
    """
    identity, processes = Path("/etc/machine-id"), Path("/proc/self/ns/pid")
    own = identity.read_text().strip() if identity.is_file() else f"{uuid.getnode():x}"
    seen = str(processes.readlink()) if processes.is_symlink() else ""
    return hashlib.sha256(f"{own} {seen}".encode()).hexdigest()[:12]
