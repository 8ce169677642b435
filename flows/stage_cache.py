"""The one module that talks to DVC: which stages are current, run one as `dvc repro` would, and record it.

The flow and `dvc repro` share `artifacts/`, `dvc.lock` and the DVC cache. A stage runs here exactly
as in `dvc.stage.Stage.run`, with the body called in this process instead of `cmd` in a new one:
after a flow, `dvc repro` has nothing to do, and the other way round.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.rwlock import rwlock
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.exceptions import StageNotFound

from seam.errors import SeamError
from tasks.project.code_digests import CodeDigests, digests_path
from tasks.project.stages import DIGEST_STAGE

_FILES = ("dvc.yaml", "dvc.lock", "params.yaml")
# DVC prints to the terminal as soon as it is imported; its records go where ours go
for _name in ("dvc", "dvc_objects", "dvc_data"):
    logging.getLogger(_name).handlers.clear()
    logging.getLogger(_name).propagate = True
Result = TypeVar("Result")


class CacheError(SeamError, RuntimeError):
    """DVC cannot answer or record: busy, not a DVC project, a broken dvc.yaml."""


@dataclass(frozen=True)
class Staleness:
    """Why a stage has to run; empty when it is current."""

    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        return ", ".join(self.reasons) or "current"


def address(stage: str, problem: str | None) -> str:
    """A stage's name in DVC: `search@digit-3`, or `validate_data`."""
    return f"{stage}@{problem}" if problem else stage


class StageCache:
    """DVC's view of one project. Not for use by several threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with _clear_errors("dvc"):
            self._repo = Repo(str(root))
        self._loaded: dict[str, Any] = {}
        self._loaded_from: list[tuple[int, int]] = []
        self._digests = CodeDigests(root)
        self._digests_recorded = False

    def close(self) -> None:
        """Release DVC's databases."""
        self._repo.close()

    def is_current(self, stage: str, problem: str | None = None) -> bool:
        """Whether `dvc repro` would skip this stage: command, parameters, dependencies and outputs as in dvc.lock."""
        with self._locked(stage):
            return not self._load(stage, problem).changed()

    def staleness(self, stage: str, problem: str | None = None) -> Staleness:
        """What changed since the stage last ran, in words."""
        with self._locked(stage, record=False):
            entries = self._load(stage, problem).status()
        return Staleness(tuple(_reasons(entries.get(address(stage, problem), []))))

    def restore(self, stage: str, problem: str | None = None) -> bool:
        """Check a stale stage's outputs out of DVC's caches, if the same command, parameters and inputs ran before.

        As `dvc repro` does, old outputs are removed first: they belong to other inputs.

        Returns:
            Whether the stage is now current; False: it has to run.
        """
        with self._locked(stage):
            entry = self._load(stage, problem)
            with self._reserved(entry):
                entry.remove_outs(ignore_remove=False)
                try:
                    self._repo.stage_cache.restore(entry)
                except RunCacheNotFoundError:
                    self._loaded.clear()  # DVC has put today's inputs into the entry it looked with
                    return False
                _record(entry)
        return True

    def run(self, stage: str, problem: str | None, body: Callable[[], Result]) -> Result:
        """Run the body of a stage and record what it read and wrote in dvc.lock and the cache.

        The stage's files are reserved meanwhile, so that a `dvc repro` started elsewhere reports
        them busy.

        Raises:
            CacheError: busy, or an input changed while the stage ran (its result is not recorded
                then).
        """
        with self._locked(stage):
            before = self._load(stage, problem)
            self._loaded.clear()  # what is kept is what the files say, and this is about to differ
            before.save_deps()
        with self._reserved(before):
            result = body()
            with self._locked(stage):
                changed = [self._input_name(dep) for dep in before.deps if dep.changed()]
                if changed:
                    raise CacheError(
                        f"{address(stage, problem)}: {', '.join(changed)} changed while the stage ran, so its result is"
                        " not kept; run again."
                    )
                _record(before)
        return result

    def pull(self, target: str) -> None:
        """Bring a tracked file or folder (`data.dvc`) into the workspace, from the cache or the remote."""
        with _clear_errors(f"dvc pull {target}"):
            self._repo.pull([str(self._root / target)])

    def remotes(self) -> dict[str, str]:
        """Name and address of the remotes DVC is configured with."""
        return {name: str(remote.get("url", "")) for name, remote in self._repo.config["remote"].items()}

    def _load(self, stage: str, problem: str | None) -> Any:
        """A stage as DVC's files have it; parsed again only when one has changed (it takes 0.1 s)."""
        now = [(s.st_mtime_ns, s.st_size) for s in (p.stat() for p in (self._root / f for f in _FILES) if p.is_file())]
        if now != self._loaded_from:
            self._loaded, self._loaded_from = {}, now
        name = address(stage, problem)
        if name not in self._loaded:
            self._loaded[name] = self._repo.stage.load_one(str(self._root / _FILES[0]), name)
        return self._loaded[name]

    def _input_name(self, dep: Any) -> str:
        return "the stage's code" if dep.fs_path == str(digests_path(self._root)) else str(dep)

    @contextmanager
    def _locked(self, what: str, record: bool = True) -> Iterator[None]:
        """DVC's own lock, with the digests of the code as the code is now, in dvc.lock too unless `record` is False."""
        with _clear_errors(what), lock_repo(self._repo), self._repo.scm_context(quiet=True):
            self._settle_digests(record)
            yield

    def _settle_digests(self, record: bool) -> None:
        """Do what the stage of the digests does; nothing in a pipeline that has none."""
        try:
            entry = self._load(DIGEST_STAGE, None)
        except StageNotFound:
            return
        if self._digests.refresh():
            self._digests_recorded = False
        if record and not self._digests_recorded:
            if entry.changed():
                _record(entry)
                self._loaded.clear()
            self._digests_recorded = True

    @contextmanager
    def _reserved(self, entry: Any) -> Iterator[None]:
        """DVC's own read and write locks on a stage's files, released by DVC itself if this process is killed."""
        command = " ".join(sys.argv)  # as DVC's decorators name us, so that they recognise our own lock
        reads = [dep.fs_path for dep in entry.deps]
        writes = [out.fs_path for out in entry.outs]
        with _clear_errors(entry.addressing), rwlock(self._repo.tmp_dir, self._repo.fs, command, reads, writes, False):
            yield


@lru_cache(maxsize=1)
def shared_cache(root: Path) -> StageCache:
    """The one StageCache of this process (opening DVC's repository takes most of a second)."""
    return StageCache(root)


def _record(entry: Any) -> None:
    """Hash inputs and outputs, copy outputs into the cache, write dvc.lock."""
    entry.save()
    entry.commit()
    entry.dump(update_pipeline=False)


def _reasons(entries: list[Any]) -> Iterator[str]:
    """DVC's status of one stage, one phrase a change."""
    for item in entries:
        if isinstance(item, str):
            yield "never ran" if item == "changed checksum" and len(entries) == 1 else item
            continue
        for paths in item.values():
            for path, state in paths.items():
                nested = state.items() if isinstance(state, dict) else [(path, state)]
                yield from (f"{'code' if name.startswith('code.') else name} {what}" for name, what in nested)


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    """Turn what DVC and the disk raise into one line saying what to do."""
    try:
        yield
    except LockError as e:
        raise CacheError(
            f"{what}: DVC is busy ({_line(e)}); wait for the other `dvc` or `seam` command to end, then run again."
        ) from e
    except StageNotFound as e:
        raise CacheError(f"{what}: dvc.yaml has no such stage ({_line(e)}).") from e
    except NotDvcRepoError as e:
        raise CacheError(
            f"{what}: the project has no .dvc folder ({_line(e)}); run `dvc init` in it, or clone it again."
        ) from e
    except DvcException as e:
        raise CacheError(f"{what}: DVC failed: {_line(e)}") from e
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
        raise CacheError(
            f"{what}: the disk is full while DVC recorded the outputs; free some space and run again, finished stages"
            " are kept."
        ) from e


def _line(error: BaseException) -> str:
    """The error and its cause on one line."""
    parts = [str(e) for e in (error, error.__cause__) if e is not None and str(e)]
    return " ".join(": ".join(parts).split()) or type(error).__name__
