"""What machine this is, as far as it bears on results: the same machine and versions give the same bits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
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
