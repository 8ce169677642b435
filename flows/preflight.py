"""What is checked before the first stage: cheap, and each failure one clear line."""

from __future__ import annotations

import importlib
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from flows import display, undo
from flows.project import project_root
from flows.registry_view import has_running_runs
from flows.stage_cache import StageCache, shared_cache
from flows.staleness import up_to_date
from seam.configs.data import DataConfig
from seam.errors import ConfigError, SeamError, TrackingError
from tasks.project.change_params import Change, proposed
from tasks.project.data_guard import check_data_unchanged
from tasks.project.environment import tracking_uri
from tasks.project.layout import lay_out
from tasks.project.params import Params
from tasks.project.stages import KINDS, Kind
from tasks.project.subject import StageRun, Subject, chosen, entries, named_in, parts_of, runs_of
from tasks.project.timed import taken_anew

logger = logging.getLogger(__name__)

LEAST_FREE_MIB = 200


def settle_params(
    root: Path, overrides: Sequence[str] = (), params_file: str | None = None
) -> tuple[Params, list[str]]:
    """Change `params.yaml` as asked, read it, and lay out a pipeline file for each subject in it.

    Returns:
        The parameters, and one line per change.
    """
    change = asked(root, overrides, params_file)
    change.write()
    settle_layout(root, change.params)
    return change.params, list(change.lines)


def asked(root: Path, overrides: Sequence[str] | None, params_file: str | None) -> Change:
    """What is asked of `params.yaml`; nothing is written yet.

    Raises:
        ConfigError: an unknown parameter, or a value that is none.
    """
    return proposed(root / "params.yaml", overrides or (), Path(params_file) if params_file else None)


def settle_layout(root: Path, params: Params) -> None:
    """Lay out a pipeline file for each subject of the parameters."""
    laid = lay_out(root, params)
    if laid:
        logger.info("%s", laid)


def prepare(
    kind: Kind,
    overrides: Sequence[str] | None,
    params_file: str | None,
    names: Sequence[str] | None,
    here: bool = False,
) -> tuple[Path, Change, tuple[Subject, ...]]:
    """What a flow does before its first stage, in the project around the working directory.

    Args:
        kind: of the subjects to work on.
        overrides: changes to params.yaml.
        params_file: a file whose values replace those in it.
        names: of the subjects.
        here: times that were taken on another machine are stale.

    Returns:
        The project, what was changed in its parameters, and the subjects to work on.

    Raises:
        SeamError: what is missing, and what to do; nothing is changed then.
    """
    root = project_root()
    change = asked(root, overrides, params_file)
    subjects = chosen(change.params, kind, names or ())
    check_asked(root, change.params, kind, subjects, shared_cache(root))
    with undo.tried(root, change, subjects, logger.info):
        settle_layout(root, change.params)
        find_stale(root, change.params, kind, subjects, shared_cache(root), here)
    return root, change, subjects


def check(
    root: Path, params: Params, kind: Kind, subjects: Sequence[Subject], cache: StageCache, here: bool = False
) -> list[StageRun]:
    """Check disk, data and tracking; `here`: times that were taken on another machine are stale.

    Returns:
        The stages that are stale now (those that depend on them follow when they have run).

    Raises:
        SeamError: what is missing, and what to do.
    """
    check_asked(root, params, kind, subjects, cache)
    return find_stale(root, params, kind, subjects, cache, here)


def check_asked(root: Path, params: Params, kind: Kind, subjects: Sequence[Subject], cache: StageCache) -> None:
    """Check what parameters ask for, also where they are not in params.yaml yet: disk, data, servers.

    Raises:
        SeamError: what is missing, and what to do.
    """
    _check_disk(root)
    for subject in subjects:
        _check_parts(root, params, subject)
    everything = (*parts_of(params, subjects), *subjects)
    shared = [] if kind.own_data else [("data", params.data)]
    for section, config in dict([*shared, *(subject.data(params) for subject in everything)]).items():
        _check_data(root, config, section, cache)
    _check_http(tracking_uri(root))


def find_stale(
    root: Path, params: Params, kind: Kind, subjects: Sequence[Subject], cache: StageCache, here: bool = False
) -> list[StageRun]:
    """The stages that are stale now; where there are any, or runs of dead processes, tracking is checked.

    Raises:
        SeamError: what is missing, and what to do.
    """
    with cache.at_once():
        stale = [
            run
            for run in runs_of(params, kind, subjects)
            if not up_to_date(cache, root, run) or taken_anew(root, run, here)
        ]
    cache.save()
    if stale or has_running_runs(tracking_uri(root), params.register_model.experiment):
        _check_tracking(root, params)
    return stale


def _check_tracking(root: Path, params: Params) -> None:
    """MLflow answers; runs of dead processes are ended. It takes seconds to import.

    Not for a run that has nothing to do, and finds no run going on.
    """
    tracking = importlib.import_module("tasks.tracking.runs")
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
        cache.checked(f"data {config.path}", ("data.dvc", "data"), lambda: check_data_unchanged(root, config.path))
    if not data.exists() and config.kind.startswith("cifar"):
        display.current().info(f"{config.path} is missing: downloading {config.kind}")
        importlib.import_module("seam.data.formats.load").fetch(config.kind, data)
    if not data.exists():
        raise ConfigError(
            f"{section}.path: {data} does not exist; name a file or folder, for example --set"
            f" {section}.path={DataConfig().path}"
        )


def _check_parts(root: Path, params: Params, subject: Subject) -> None:
    """What it is made of is in the parameters, or a folder."""
    known = {part.name for part in parts_of(params, [subject])}
    for name in named_in(params, subject):
        if name not in known and not (root / name).is_dir():
            kind = KINDS[subject.row.made_of or ""]
            names = ", ".join(entries(params, kind)) or "none yet"
            raise ConfigError(
                f"{subject.row.section}.{subject.name}.of: expected {kind.definition} ({names}) or a folder with"
                f" modules that were made elsewhere, got '{name}'; correct it, or add it under `{kind.section}`."
            )


def _check_http(uri: str) -> None:
    """A tracking server answers; the same check as tasks.tracking.store.check_server, without importing MLflow."""
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
