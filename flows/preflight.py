"""What is checked before the first stage: cheap, and each failure one clear line."""

from __future__ import annotations

import importlib
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import display
from flows.project import project_root
from flows.stage_cache import StageCache, shared_cache
from seam.configs.data import DataConfig
from seam.errors import ConfigError, SeamError, TrackingError
from tasks.project.data_guard import check_data_unchanged
from tasks.project.environment import tracking_uri
from tasks.project.params import Params, change_params, load_params
from tasks.project.stages import SHARED_STAGES, STAGES
from tasks.project.students import StudentName
from tasks.project.subject import check_problem, check_target, dvc_key, stage_folder

logger = logging.getLogger(__name__)

LEAST_FREE_MIB = 200
EVERY_PROBLEM = "all"
"""In place of a problem's name."""
HOW_TO_ADD = (
    "seam transfer --set 'targets={flowers: {kind: image_folder, path: flowers, image_size: 224}}' (docs/transfer.md)"
)


@dataclass(frozen=True)
class StageRun:
    """One stage to run, of a problem or target, of a student where it has one."""

    stage: str
    problem: str | None = None
    student: StudentName | None = None


def settle_params(
    root: Path, overrides: Sequence[str] = (), params_file: str | None = None
) -> tuple[Params, list[str]]:
    """Change `params.yaml` as asked and read it.

    Returns:
        The parameters, and one line per change.
    """
    path = root / "params.yaml"
    changes = (
        change_params(path, overrides, Path(params_file) if params_file else None) if overrides or params_file else []
    )
    return load_params(path), changes


def chosen_problems(params: Params, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The problems to work on, in the order of the parameters; every one if none is named, or `all` is."""
    named = [n for n in names if n != EVERY_PROBLEM]
    for name in named:
        check_problem(params, name)
    every = not names or EVERY_PROBLEM in names
    return tuple(p for p in params.problems if every or p in named)


def reports_of(root: Path, params: Params, problems: Sequence[str], targets: Sequence[str]) -> list[Path]:
    """Where the reports of the named problems and targets are or will be; of all of them if none is named."""
    every = not problems and not targets
    of_problems = chosen_problems(params, problems) if problems or every else ()
    of_targets = chosen_targets(params, targets) if targets or (every and params.targets) else ()
    paths = [stage_folder(root, "register_model", p) / "report.html" for p in of_problems]
    return [*paths, *(stage_folder(root, "compare_transfers", t) / "report.html" for t in of_targets)]


def prepare(
    overrides: Sequence[str] | None,
    params_file: str | None,
    names: Sequence[str] | None,
    choose: Callable[[Params, Sequence[str]], tuple[str, ...]],
    check: Callable[[Path, Params, Sequence[str], StageCache], object],
) -> tuple[Path, Params, tuple[str, ...]]:
    """What a flow does before its first stage, in the project around the working directory.

    Args:
        overrides: changes to params.yaml.
        params_file: a file whose values replace those in it.
        names: of the problems or targets to work on.
        choose: `chosen_problems` or `chosen_targets`.
        check: `check` or `check_transfers`.

    Returns:
        The project, its parameters, and the names to work on.

    Raises:
        SeamError: what is missing, and what to do.
    """
    root = project_root()
    params, changes = settle_params(root, overrides or (), params_file)
    chosen = choose(params, names or ())
    for change in changes:
        logger.info("params.yaml: %s", change)
    check(root, params, chosen, shared_cache(root))
    return root, params, chosen


def stages_of(problems: Sequence[str]) -> list[tuple[str, str | None]]:
    """(stage, problem) in the order they run.

    What the data can refuse, then the source, then one problem after the other.
    """
    first: list[tuple[str, str | None]] = [
        ("describe_machine", None),
        ("validate_data", None),
        *(("split_dataset", p) for p in problems),
        ("prepare_source", None),
    ]
    rest = [s for s in STAGES if s not in SHARED_STAGES and s != "split_dataset"]
    return first + [(stage, p) for p in problems for stage in rest]


def chosen_targets(params: Params, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The data sets to transfer to, in the order of the parameters; every one if none is named.

    Raises:
        ConfigError: there is none, or none of that name.
    """
    if not params.targets:
        raise ConfigError(f"params.yaml has no target to transfer to; add one: {HOW_TO_ADD}")
    for name in names:
        check_target(params, name)
    return tuple(t for t in params.targets if not names or t in names)


def transfer_stages_of(params: Params, targets: Sequence[str]) -> list[StageRun]:
    """In the order they run: what data and source can refuse, then target after target, with all of its students."""
    first = [
        StageRun("describe_machine"),
        *(StageRun("validate_target", t) for t in targets),
        *(StageRun("fetch_source", t) for t in targets),
    ]
    rest = []
    for target in targets:
        rest += [
            StageRun("attack_target", target),
            *(StageRun("transfer", target, student) for student in params.transfer.students),
        ]
        rest += [StageRun("compare_transfers", target), StageRun("register_transfer", target)]
    return first + rest


def check(root: Path, params: Params, problems: Sequence[str], cache: StageCache) -> list[tuple[str, str | None]]:
    """Check disk, data and tracking.

    Returns:
        The stages that are stale now (those that depend on them follow when they have run).

    Raises:
        SeamError: what is missing, and what to do.
    """
    _check_disk(root)
    _check_data(root, params.data, "data", cache)
    _check_http(tracking_uri(root))
    stale = [(stage, p) for stage, p in stages_of(problems) if not cache.is_current(stage, p)]
    if stale:
        _check_tracking(root, params)
    return stale


def check_transfers(root: Path, params: Params, targets: Sequence[str], cache: StageCache) -> list[StageRun]:
    """As `check`, for transfers to these targets."""
    _check_disk(root)
    for target in targets:
        _check_data(root, params.targets[target], f"targets.{target}", cache)
    _check_http(tracking_uri(root))
    stale = [
        run
        for run in transfer_stages_of(params, targets)
        if not cache.is_current(run.stage, dvc_key(run.problem, run.student))
    ]
    if stale:
        _check_tracking(root, params)
    return stale


def _check_tracking(root: Path, params: Params) -> None:
    """MLflow answers; runs of dead processes are ended. It takes seconds to import.

    Not for a run that has nothing to do.
    """
    tracking = importlib.import_module("tasks.tracking.runs")
    tracking.check_server(tracking_uri(root))
    tracking.sweep_stale_runs(root, params.register_model.experiment)


def _check_disk(root: Path) -> None:
    free = shutil.disk_usage(root).free / 2**20
    if free < LEAST_FREE_MIB:
        raise SeamError(
            f"{root}: expected at least {LEAST_FREE_MIB} MiB free on its disk, got {free:.0f} MiB; the disk is full,"
            " free some space and run again."
        )


def _check_data(root: Path, config: DataConfig, section: str, cache: StageCache) -> None:
    """The data is there, and is what data.dvc says; missing data is pulled. `section` names the parameters."""
    data = root / config.path
    tracked = data.resolve().is_relative_to((root / "data").resolve()) and (root / "data.dvc").is_file()
    if tracked and not (root / "data").exists():
        display.current().info("data/ is missing: pulling it with DVC (data.dvc)")
        cache.pull("data.dvc")
    if tracked:
        check_data_unchanged(root, config.path)
    if not data.exists() and config.kind.startswith("cifar"):
        display.current().info(f"{config.path} is missing: downloading {config.kind}")
        importlib.import_module("seam.data.formats.load").fetch(config.kind, data)
    if not data.exists():
        raise ConfigError(
            f"{section}.path: {data} does not exist; name a file or folder, for example --set"
            f" {section}.path=data/digits.npz"
        )


def _check_http(uri: str) -> None:
    """A tracking server answers; the same check as tasks.tracking.runs.check_server, without importing MLflow."""
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
