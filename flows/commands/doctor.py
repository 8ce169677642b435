"""`seam doctor`: what this machine has for the pipeline, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.preflight import LEAST_FREE_MIB
from flows.servers.settings import read_settings, servers_folder
from flows.servers.supervision import addresses, states
from flows.stage_cache import shared_cache
from flows.temporary_server import answers, configured_url
from seam.errors import SeamError
from seam.hardware import cores
from seam.inference.engines import ENGINES
from tasks.project.data_guard import check_data_unchanged
from tasks.project.environment import NO_TELEMETRY, tracking_uri
from tasks.project.params import load_params

REQUIRED = ("onnxruntime", "onnx", "mlflow", "dvc", "prefect")
"""Packages without which nothing runs; torch has a line of its own."""
LEAST_MEMORY_GIB = 2


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    found: str
    missing: str = ""
    """What to do about it; empty if nothing is missing."""
    required: bool = True


def show_health(root: Path, console: Console) -> int:
    """Print what was found.

    Returns:
        0, or 1 if something required is missing.
    """
    findings = [*_machine(root), *_libraries(), *find_servers(root), *_data(root), _telemetry()]
    table = Table("", "what", "found", "what to do")
    for f in findings:
        mark = "[green]✓[/green]" if not f.missing else "[red]✗[/red]" if f.required else "[yellow]–[/yellow]"
        table.add_row(mark, f.what, escape(f.found), escape(f.missing))
    console.print(table)
    lacking = [f.what for f in findings if f.missing and f.required]
    console.print(f"missing: {', '.join(lacking)}" if lacking else "nothing required is missing", highlight=False)
    return 1 if lacking else 0


def _machine(root: Path) -> Iterator[Finding]:
    right = (3, 11) <= sys.version_info[:2] < (3, 12)
    yield Finding("python", platform.python_version(), "" if right else "the pinned requirements are for Python 3.11")
    yield Finding("cores", str(cores()))
    memory = psutil.virtual_memory()
    few = memory.available < LEAST_MEMORY_GIB * 2**30
    yield Finding(
        "memory",
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        f"free at least {LEAST_MEMORY_GIB} GiB" if few else "",
    )
    free = shutil.disk_usage(root).free / 2**20
    yield Finding(
        "disk", f"{free / 1024:.1f} GiB free", f"free at least {LEAST_FREE_MIB} MiB" if free < LEAST_FREE_MIB else ""
    )


def _libraries() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as e:
        yield Finding("torch", str(e), "install the requirements: make install")
    else:
        yield Finding("torch", torch.__version__)
        cuda = (
            f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
            if torch.cuda.is_available()
            else "none: the search runs on the CPU"
        )
        yield Finding("CUDA", cuda, required=False)
    for name in REQUIRED:
        installed = _version(name)
        yield Finding(name, installed or "not installed", "" if installed else "install the requirements: make install")
    yield from _engines()


def _engines() -> Iterator[Finding]:
    """Which of the engines' other packages are installed, and whether this CPU can run them; none is imported."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.is_file() else []
    for package in dict.fromkeys(p for engine in ENGINES.values() for p in engine.packages):
        if package in (*REQUIRED, "torch"):
            continue
        needing = [engine for engine in ENGINES.values() if package in engine.packages]
        without = f"without it unavailable: {', '.join(engine.label for engine in needing)}"
        installed, wanted = _version(package), needing[0].cpu_flags
        usable = next((flag for flag in reversed(wanted) if flag in flags), None)
        if not installed:
            yield Finding(
                package,
                "not installed",
                "; ".join(filter(None, ["optional", needing[0].needs, without])),
                required=False,
            )
        elif wanted and usable is None:
            found = f"{installed}, not usable: the CPU has none of {', '.join(wanted)}"
            yield Finding(package, found, without, required=False)
        else:
            yield Finding(package, f"{installed}, usable ({usable})" if usable else installed, required=False)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name) if importlib.util.find_spec(name) else None
    except importlib.metadata.PackageNotFoundError:
        return None


def find_servers(root: Path) -> Iterator[Finding]:
    """Which servers are configured, and whether they answer."""
    uri = tracking_uri(root)
    try:
        from tasks.tracking.store import check_server

        check_server(uri)
    except (SeamError, ImportError) as e:
        yield Finding("MLflow", uri, str(e))
    else:
        yield Finding("MLflow", f"{uri} (reachable)")
    url = configured_url()
    if url is None:
        yield Finding("Prefect", "no server named: hand-started runs start a temporary one", required=False)
    elif answers(url, timeout=3):
        yield Finding("Prefect", f"{url} (reachable)")
    else:
        yield Finding(
            "Prefect", f"{url} (does not answer)", "start it (`prefect server start`) or unset PREFECT_API_URL"
        )
    yield from _own_servers(root)


def _own_servers(root: Path) -> Iterator[Finding]:
    """Those of `make servers`, where they were started once."""
    try:
        settings = read_settings(servers_folder(root))
        failures = states(settings)
    except SeamError as e:
        found = "none of our own (`make servers`)" if not servers_folder(root).exists() else str(e)
        yield Finding("servers", found, required=False)
        return
    for name, address in addresses(settings).items():
        remedy = f"{failures[name]}; `make servers` starts it" if failures[name] else ""
        yield Finding(f"server {name}", address, remedy, required=False)


def _data(root: Path) -> Iterator[Finding]:
    try:
        remotes = shared_cache(root).remotes()
    except SeamError as e:
        yield Finding("DVC", "no", str(e))
        return
    shown = ", ".join(f"{name}: {url}" for name, url in remotes.items())
    yield Finding(
        "DVC remote",
        shown or "none",
        "" if shown else "`dvc remote add -d NAME URL`, to share data and results",
        required=False,
    )
    params = load_params(root / "params.yaml")
    path = root / params.data.path
    if not path.exists():
        yield Finding(
            "data", f"{params.data.path} is missing", "`dvc pull data.dvc`, or name your data with --set data.path=..."
        )
        return
    try:
        check_data_unchanged(root, params.data.path)
    except SeamError as e:
        yield Finding("data", params.data.path, str(e))
    else:
        yield Finding(
            "data", f"{params.data.path} (as recorded)" if (root / "data.dvc").is_file() else params.data.path
        )


def _telemetry() -> Finding:
    on = [name for name, value in NO_TELEMETRY.items() if os.environ.get(name) != value]
    return Finding(
        "telemetry",
        "off" if not on else f"not switched off: {', '.join(on)}",
        f"unset {', '.join(on)}" if on else "",
        required=False,
    )
