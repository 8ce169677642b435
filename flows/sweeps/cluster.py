"""Dask, and the scheduler and workers of this machine that a sweep starts itself."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.project import package_root, state_folder
from flows.sweeps.folder import make_copy
from seam.errors import ConfigError, SeamError

logger = logging.getLogger(__name__)

SECONDS_TO_JOIN = 120.0
_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.worker-ttl": "120s",  # a machine that stands still; less moves work that goes on
    "distributed.scheduler.allowed-failures": 2,  # a point that kills its worker so often is given up
    "distributed.worker.memory.target": False,  # results are a few kilobytes, and torch's memory is not Dask's
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.nanny.pre-spawn-environ": {},  # threads are seam.runtime's to say
    "distributed.comm.timeouts.connect": "10s",
    "distributed.scheduler.locks.lease-timeout": "30s",
}


class ClusterError(SeamError, RuntimeError):
    """A scheduler or a worker is not there."""


def settle_dask() -> Any:
    """Dask, set up for work of minutes a task; the `sweep` extra has it."""
    try:
        import dask
        import distributed
        import prefect_dask  # noqa: F401
    except ImportError as e:
        raise ConfigError(
            f"{e.name} is not installed, which sweeps need: pip install 'seam[pipeline,sweep]', or make install."
        ) from e
    dask.config.set(_SETTINGS)
    logging.getLogger("distributed").setLevel("ERROR")
    return distributed


@contextmanager
def local_cluster(root: Path, workers: int) -> Iterator[str]:
    """A scheduler in this process and so many workers beside it, each with a folder of its own in .seam/workers.

    They share DVC's cache with the project, and the cores among them; all end with the block, or
    with this process.

    Args:
        root: the project.
        workers: 0: one for every two cores.

    Yields:
        The address of the scheduler.

    Raises:
        ClusterError: the workers did not come up.
    """
    distributed = settle_dask()
    with (
        only_one(root, "workers", "a sweep on the workers of this machine"),
        distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=logging.ERROR
        ) as cluster,
    ):
        shares = shares_of_cores(workers)
        folders = [make_copy(root, state_folder(root) / "workers" / str(i)) for i in range(len(shares))]
        address: str = cluster.scheduler_address
        started = [_start_worker(address, folder, cores) for folder, cores in zip(folders, shares, strict=True)]
        try:
            _wait_for(cluster, started, folders)
            yield address
        finally:
            _stop(started)


@contextmanager
def only_one(root: Path, name: str, what: str) -> Iterator[None]:
    """Be the only process that does something in this project.

    Args:
        root: the project.
        name: of the file that is locked, in `.seam`; the lock goes with its process.
        what: is going on where another process holds it, for people.

    Raises:
        ClusterError: one does.
    """
    with (state_folder(root) / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ClusterError(f"{what} goes on in another process of this project; wait for it, or stop it.") from e
        yield


def shares_of_cores(workers: int) -> list[list[int]]:
    """The cores of each of so many workers, one at least; of one for every two cores if 0.

    Nothing where a process cannot be bound to cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(workers or max((os.cpu_count() or 1) // 2, 1))]
    cores = sorted(os.sched_getaffinity(0))
    workers = workers or max(len(cores) // 2, 1)
    return [cores[i::workers] or [cores[i % len(cores)]] for i in range(workers)]


def _start_worker(address: str, folder: Path, cores: Sequence[int]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.cli", "worker", "--scheduler", address, "--folder", str(folder), "--once"]
    if cores:
        command += ["--cores", ",".join(map(str, cores))]
    log = folder / ".seam" / "worker.log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_paths(folder))}
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # Ctrl-C is the sweep's: it ends them itself
        )  # fmt: skip


def _paths(folder: Path) -> list[str]:
    """The code of the folder before that which is installed."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(folder), *(p for p in others if p and Path(p).absolute() != package_root())]


def _wait_for(cluster: Any, started: Sequence[subprocess.Popen[bytes]], folders: Sequence[Path]) -> None:
    deadline = time.monotonic() + SECONDS_TO_JOIN
    while len(cluster.scheduler.workers) < len(started):
        for process, folder in zip(started, folders, strict=True):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"a worker did not start; see {folder / '.seam' / 'worker.log'}.")
        time.sleep(0.1)


def _stop(started: Sequence[subprocess.Popen[bytes]], patience: float = 5.0) -> None:
    """End the workers and what they started."""
    for process in started:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + patience
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.1))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
