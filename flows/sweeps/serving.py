"""What `seam scheduler` and `seam worker` do until they are stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.sweeps.cluster import ClusterError, settle_dask
from flows.sweeps.work import FOLDER
from tasks.project import stopping

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 5.0
"""Between two tries to reach a scheduler that is not there."""


def schedule(host: str, port: int) -> None:
    """Hand work out to workers until stopped.

    Where Dask's configuration asks for encryption (`distributed.comm.require-encryption`, with its
    TLS files), by TLS alone.

    Args:
        host: to listen at; 0.0.0.0: at all addresses.
        port: to listen at.

    Raises:
        ClusterError: something else listens there.
    """
    distributed, told = settle_dask(), _Told()
    with asyncio.Runner() as runner:
        runner.run(_schedule(distributed, host, port, told))
    told.raise_again()


class _Told:
    """Whether this process was told to stop, and by which signal: heard by the loop, which ends cleanly."""

    def __init__(self) -> None:
        self._number: int | None = None
        self.stopped = asyncio.Event()

    def listen(self) -> None:
        """In the loop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._hear, number)

    def raise_again(self) -> None:
        """After the loop: the command ends as any other that is told to stop."""
        if self._number is not None:
            stopping.raise_for(self._number)

    def _hear(self, number: int) -> None:
        if self._number is None:
            stopping.end_soon(number)
        self._number = number
        self.stopped.set()


async def _schedule(distributed: Any, host: str, port: int, told: _Told) -> None:
    security = distributed.Security()
    told.listen()
    protocol = "tls" if security.require_encryption else "tcp"
    try:
        async with distributed.Scheduler(
            host=host, port=port, protocol=protocol, security=security, dashboard=False
        ) as scheduler:
            logger.info("scheduling at %s", scheduler.address)
            print(f"seam worker --scheduler {scheduler.address}", flush=True)  # noqa: T201  what to do next
            await told.stopped.wait()
    except OSError as e:
        raise ClusterError(f"{host}:{port}: expected a free address of this machine, got: {e}.") from e


def serve(scheduler: str, folder: Path, once: bool = False, cores: Sequence[int] = ()) -> None:
    """Work for a scheduler until stopped; one that goes away is waited for.

    Args:
        scheduler: tcp://HOST:PORT, or tls://HOST:PORT with Dask's own settings for TLS.
        folder: the working folder.
        once: end when the scheduler does.
        cores: that this worker may use; empty: all that this process may.
    """
    distributed, told = settle_dask(), _Told()
    if cores:
        os.sched_setaffinity(0, cores)
    os.environ[FOLDER] = str(folder)
    with asyncio.Runner() as runner:
        runner.run(_serve(distributed, scheduler, folder, once, told))
    told.raise_again()


async def _serve(distributed: Any, scheduler: str, folder: Path, once: bool, told: _Told) -> None:
    stopped = told.stopped
    told.listen()
    while not stopped.is_set():
        try:
            await _serve_one(distributed, scheduler, folder, stopped)
        except (OSError, TimeoutError, RuntimeError) as e:  # the last is Dask's nanny's, cut off from the scheduler
            if once:
                raise ClusterError(f"scheduler at {scheduler} does not answer ({e}).") from e
            logger.info("scheduler at %s does not answer; trying again", scheduler)
        if once:
            return
        try:
            await asyncio.wait_for(stopped.wait(), _AGAIN_SECONDS)
        except TimeoutError:
            continue


async def _serve_one(distributed: Any, scheduler: str, folder: Path, stopped: asyncio.Event) -> None:
    """One stay at a scheduler: until it is gone, or we are told to stop.

    The work is done in a child process, which is started again where it dies.
    """
    (folder / ".seam").mkdir(exist_ok=True)
    nanny = distributed.Nanny(
        scheduler,
        nthreads=1,
        name=f"{os.uname().nodename}:{folder}",
        local_directory=str(folder / ".seam" / "dask"),
        memory_limit=0,
        death_timeout=30,
        dashboard=False,
    )
    async with nanny:
        logger.info("working for %s in %s", scheduler, folder)
        ended = asyncio.create_task(nanny.finished())
        told = asyncio.create_task(stopped.wait())
        await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        ended.cancel()
