"""What machine this is, as far as it bears on results: the same machine and versions give the same bits."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_VECTOR_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
)


def cores() -> int:
    """CPUs that this process may use: those it is bound to, and no more than its control group has the time of.

    A container of two CPUs on a machine of sixty sees sixty.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _quota(mount: Path, memberships: Path) -> float | None:
    """The least CPU time a second that this process's control group and those around it have; None: no limit."""
    try:
        lines = [line.split(":", 2) for line in memberships.read_text().splitlines()]
    except OSError:  # another system than Linux
        return None
    found: list[float] = []
    for _, controllers, path in lines:
        if controllers == "":
            found += _along(mount, path, _quota_and_period)
        elif "cpu" in controllers.split(","):
            found += _along(mount / ("cpu" if (mount / "cpu").is_dir() else controllers), path, _quota_and_period_v1)
    return min(found, default=None)


def _along(mount: Path, path: str, read: Callable[[Path], list[str]]) -> Iterator[float]:
    """The limits of a control group and those around it, as far as they are to be seen from here."""
    folder = Path(path.lstrip("/"))
    for group in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit, nor is -1
            quota, period = map(float, read(mount / group))
            if quota > 0 and period > 0:
                yield quota / period


def _quota_and_period(group: Path) -> list[str]:
    return group.joinpath("cpu.max").read_text().split()


def _quota_and_period_v1(group: Path) -> list[str]:
    return [group.joinpath(f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]


def describe() -> dict[str, Any]:
    """CPU model and vector instructions, cores this process may use, GPUs, operating system. No torch needed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "system": platform.system(),
        "vector_instructions": [f for f in _VECTOR_INSTRUCTIONS if f in flags],
        "cores": cores(),
        "gpu": _gpus(),
    }


def in_words(machine: Mapping[str, Any] | None = None) -> str:
    """A machine as `describe` has it, this one unless given: "Intel(R) Xeon(R) Gold 6348, 2 cores, no GPU"."""
    machine = describe() if machine is None else machine
    return f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cores', '?')} cores, {machine.get('gpu') or 'no GPU'}"


def _gpus() -> str | None:
    """Names of the NVIDIA GPUs, or None."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    done = subprocess.run(
        [command, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False
    )
    names = done.stdout.split("\n") if done.returncode == 0 else []
    return ", ".join(n.strip() for n in names if n.strip()) or None
