"""What is checked before the first stage: cheap, and each failure one clear line."""

from __future__ import annotations

import importlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from flows import display
from flows.stage_cache import StageCache
from seam.errors import ConfigError, SeamError, TrackingError
from tasks.data_guard import check_data_unchanged
from tasks.environment import tracking_uri
from tasks.params import Params, change_params, load_params
from tasks.stage import SHARED_STAGES, STAGES, check_problem

LEAST_FREE_MIB = 200
EVERY_PROBLEM = "all"
"""In place of a problem's name."""


def settle_params(root: Path, overrides: Sequence[str] = (), params_file: str | None = None) -> tuple[Params, list[str]]:
    """Change `params.yaml` as asked and read it.

    Returns:
        The parameters, and one line per change.
    """
    path = root / "params.yaml"
    changes = change_params(path, overrides, Path(params_file) if params_file else None) if overrides or params_file else []
    return load_params(path), changes


def chosen_problems(params: Params, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The problems to work on, in the order of the parameters; every one if none is named, or `all` is."""
    named = [n for n in names if n != EVERY_PROBLEM]
    for name in named:
        check_problem(params, name)
    every = not names or EVERY_PROBLEM in names
    return tuple(p for p in params.problems if every or p in named)


def stages_of(problems: Sequence[str]) -> list[tuple[str, str | None]]:
    """(stage, problem) in the order they run: what the data can refuse, then the source, then one problem after the other."""
    first: list[tuple[str, str | None]] = [
        ("describe_machine", None),
        ("validate_data", None),
        *(("split_dataset", p) for p in problems),
        ("prepare_source", None),
    ]
    rest = [s for s in STAGES if s not in SHARED_STAGES and s != "split_dataset"]
    return first + [(stage, p) for p in problems for stage in rest]


def check(root: Path, params: Params, problems: Sequence[str], cache: StageCache) -> list[tuple[str, str | None]]:
    """Check disk, data and tracking.

    Returns:
        The stages that are stale now (those that depend on them follow when they have run).

    Raises:
        SeamError: what is missing, and what to do.
    """
    _check_disk(root)
    _check_data(root, params, cache)
    uri = tracking_uri(root)
    _check_http(uri)
    stale = [(stage, p) for stage, p in stages_of(problems) if not cache.is_current(stage, p)]
    if stale:  # MLflow takes seconds to import: not for a run that has nothing to do
        tracking = importlib.import_module("tasks.tracking")
        tracking.check_server(uri)
        tracking.sweep_stale_runs(root, params.register_model.experiment)
    return stale


def _check_disk(root: Path) -> None:
    free = shutil.disk_usage(root).free / 2**20
    if free < LEAST_FREE_MIB:
        raise SeamError(
            f"{root}: expected at least {LEAST_FREE_MIB} MiB free on its disk, got {free:.0f} MiB; the disk is full, free some space and run again."
        )


def _check_data(root: Path, params: Params, cache: StageCache) -> None:
    """The data is there, and is what data.dvc says; missing data is pulled."""
    data = root / params.data.path
    tracked = data.resolve().is_relative_to((root / "data").resolve()) and (root / "data.dvc").is_file()
    if tracked and not (root / "data").exists():
        display.current().info("data/ is missing: pulling it with DVC (data.dvc)")
        cache.pull("data.dvc")
    if tracked:
        check_data_unchanged(root, params.data.path)
    if not data.exists() and params.data.kind.startswith("cifar"):
        display.current().info(f"{params.data.path} is missing: downloading {params.data.kind}")
        importlib.import_module("seam.datasets.load").fetch(params.data.kind, data)
    if not data.exists():
        raise ConfigError(f"data.path: {data} does not exist; name a file or folder, for example --set data.path=data/digits.npz")


def _check_http(uri: str) -> None:
    """A tracking server answers; the same check as tasks.tracking.check_server, without importing MLflow."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=3):
            return
    except urllib.error.HTTPError as e:
        if e.code in (401, 403):
            return
        why = f"/health gives {e.code}"
    except (OSError, ValueError) as e:
        why = str(getattr(e, "reason", e))
    raise TrackingError(f"MLflow server at {uri} does not answer ({why}); start it or unset MLFLOW_TRACKING_URI.")
