"""The one module that talks to DVC: stages as its files have them, what changed, its locks, and recording.

Importing DVC takes a second: `flows.stage_cache` does so only where its own records do not tell.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import dvc.dependency.param as dvc_params
from dvc.dependency.param import ParamsDependency, read_param_file
from dvc.dvcfile import load_file
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.exceptions import StageNotFound
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml, load_path
from dvc_data.hashfile.hash_info import HashInfo

from flows import dvc_travel
from flows.dvc_reservations import repo_lock, reservation
from flows.lock_sections import Locks, LockSections, stage_in
from seam.errors import CacheError
from tasks.project.machine import FAULTS, why_not
from tasks.project.subject import Address

# DVC prints to the terminal as soon as it is imported; its records go where ours go
for _name in ("dvc", "dvc_objects", "dvc_data"):
    logging.getLogger(_name).handlers.clear()
    logging.getLogger(_name).propagate = True


class DvcStages:
    """DVC's view of one project. Not for use by several threads at once."""

    def __init__(self, root: Path, locks: Locks) -> None:
        self._root = root
        self._locks = locks
        with clear_errors("dvc"):
            self._repo = Repo(str(root))
        dvc_travel.keep_remotes(self._repo)
        self._files: dict[str, tuple[object, Any]] = {}
        self._loaded: dict[Address, tuple[object, str, Any]] = {}

    def close(self) -> None:
        """Release DVC's databases."""
        self._repo.close()

    def load(self, stage: Address) -> Any:
        """A stage as DVC's files have it; what was parsed before is parsed again only where it has changed."""
        lock = self._locks.of(stage)
        stages, section = self._stages_of(stage.file, lock), lock.text_of(stage.name)
        known = self._loaded.get(stage)
        if known is None or known[0] is not stages or known[1] != section:
            entry = stage_in(stages, stage.name, self._root / stage.lock)
            known = self._loaded[stage] = (stages, section, entry)
        return known[2]

    def _stages_of(self, file: str, lock: LockSections) -> Any:
        """The stages that a dvc.yaml defines."""
        paths = (self._root / file, self._root / "params.yaml")
        now = [(s.st_mtime_ns, s.st_size) for s in (p.stat() for p in paths if p.is_file())]
        known = self._files.get(file)
        if known is None or known[0] != now:
            loaded: Any = load_file(self._repo, str(paths[0]))
            known = self._files[file] = (now, StageLoader(loaded, loaded.contents, {"stages": lock}))
        return known[1]

    def forget(self, stage: Address) -> None:
        """Load it anew next time: DVC has put something else into the entry than its files say."""
        self._loaded.pop(stage, None)

    def changes(self, stage: Address) -> list[str]:
        """What differs from dvc.lock, one phrase a change; nothing if `dvc repro` would skip the stage.

        Waits for no lock, so that it answers while a stage runs.
        """
        entry = self.load(stage)
        entries: list[Any] = []
        for items, title in ((entry.deps, "changed deps"), (entry.outs, "changed outs")):
            found: dict[str, Any] = {}
            for item in items:
                found.update(item.status())
            if found:
                entries.append({title: found})
        if entry.changed_stage():
            entries.append("changed command")
        return list(_reasons(entries))

    def restore(self, stage: Address, travels: bool = False) -> bool:
        """Check a stage's outputs out of DVC's caches, if the same command, parameters and inputs ran before.

        Out of the remote too, where results travel. Where they are not there the old outputs stay: the
        stage is to run, and may fail.
        """
        entry, found = self.load(stage), self._repo.stage_cache
        with self.reserved(entry):
            try:
                self._look_by_inputs(entry)
                dvc_travel.drop_half_written_records(self._repo, entry)
                if travels:
                    with dvc_travel.remote_errors(self._repo, str(stage)):
                        dvc_travel.ask(self._repo, entry)
                found.restore(entry, dry=True)
                entry.remove_outs(ignore_remove=False)  # they belong to other inputs
                found.restore(entry)
            except RunCacheNotFoundError:
                self.forget(stage)
                return False
            self.record(stage, entry)
        return True

    @staticmethod
    def _look_by_inputs(entry: Any) -> None:
        """Have a stage that is not as recorded look for its inputs as they are: DVC would take the recorded outputs."""
        if entry.changed_stage() or not entry.deps_cached():
            entry.save_deps()
            for out in entry.outs:
                out.hash_info = HashInfo()

    def record(self, stage: Address, entry: Any) -> None:
        """Hash inputs and outputs, copy outputs into the cache, write the stage's section of its dvc.lock."""
        entry.save()
        entry.commit()
        section = dumps_yaml({"stages": to_lockfile(entry)}).removeprefix("stages:\n")
        if not self._locks.of(stage).write(stage.name, section):
            entry.dump(update_pipeline=False)
        self.forget(stage)

    def send(self, stage: Address) -> None:
        """Put the outputs of a recorded stage, and what finds them by its inputs, into the remote."""
        with dvc_travel.remote_errors(self._repo, str(stage)):
            dvc_travel.send(self._repo, self.load(stage))

    def check_out(self, stage: Address) -> None:
        """Put the recorded outputs of a stage, which are in the cache, into the workspace."""
        with clear_errors(str(stage)):
            self.load(stage).checkout(force=True)

    def check_out_whole(self, stage: Address) -> bool:
        """Put recorded outputs into the workspace, if they are of the inputs as they are and all in the cache."""
        entry = self.load(stage)
        if entry.changed_stage() or not entry.deps_cached() or not entry.outs_cached():
            return False
        self.check_out(stage)
        return True

    def files_of(self, stage: Address) -> list[str]:
        """Every file and folder that decides whether the stage is current, and its outputs' objects in the cache.

        Parameters are not among them.
        """
        entry = self.load(stage)
        paths = [dep.fs_path for dep in entry.deps if not isinstance(dep, ParamsDependency)]
        for out in entry.outs:
            paths.append(out.fs_path)
            if out.use_cache and out.hash_info:
                paths += [out.cache.oid_to_path(oid) for oid in _objects(out)]
        return paths

    def pull(self, target: str) -> None:
        """Bring a tracked file or folder (`data.dvc`) into the workspace, from the cache or the remote."""
        with clear_errors(f"dvc pull {target}"):
            self._repo.pull([str(self._root / target)])

    def remotes(self) -> dict[str, str]:
        """Name and address of the remotes DVC is configured with."""
        return {name: str(remote.get("url", "")) for name, remote in self._repo.config["remote"].items()}

    def clear(self, what: str) -> AbstractContextManager[None]:
        """Errors in the block are one line; no lock is taken."""
        return clear_errors(what)

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """DVC's own lock."""
        with clear_errors(what), repo_lock(self._repo), self._repo.scm_context(quiet=True):
            yield

    @contextmanager
    def reserved(self, entry: Any) -> Iterator[None]:
        """DVC's own read and write locks on a stage's files, released by DVC itself if this process is killed."""
        command = " ".join(sys.argv)  # as DVC's decorators name us, so that they recognise our own lock
        reads = [dep.fs_path for dep in entry.deps]
        writes = [out.fs_path for out in entry.outs]
        with clear_errors(entry.addressing), reservation(self._repo, command, reads, writes):
            yield


def _objects(out: Any) -> Iterable[str]:
    """Names of an output's objects: its own, and those of a folder's files."""
    yield out.hash_info.value
    if out.hash_info.isdir:
        tree = out.get_obj()
        yield from (hash_info.value for _, _, hash_info in tree or ())


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
def clear_errors(what: str) -> Iterator[None]:
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
    except FAULTS as e:
        if (why := why_not(e)) is None:
            raise
        raise CacheError(
            f"{what}: {why} while DVC recorded the outputs; mend that (free some space) and run again, finished stages"
            " are kept."
        ) from e


def _line(error: BaseException) -> str:
    """The error and its cause on one line."""
    parts = [str(e) for e in (error, error.__cause__) if e is not None and str(e)]
    return " ".join(": ".join(parts).split()) or type(error).__name__


@lru_cache(maxsize=8)
def _parsed(path: str, _state: tuple[int, int], fs: Any) -> Any:
    return load_path(path, fs)


def _read_params(fs: Any, path: str, key_paths: list[str] | None = None, flatten: bool = False, **options: Any) -> Any:
    """As `read_param_file`: that parses the file for each stage that names it, and walks all of it for each name."""
    if not flatten or not key_paths or options:
        return read_param_file(fs, path, key_paths, flatten, **options)
    stat, found = Path(path).stat(), {}
    content = _parsed(path, (stat.st_mtime_ns, stat.st_size), fs)
    for name in key_paths:
        try:
            found[name] = reduce(getitem, name.split("."), content)
        except (KeyError, TypeError, IndexError):  # a pattern, a place in a list, or not there
            found |= read_param_file(fs, path, [name], flatten=True)
    return found


dvc_params.read_param_file = _read_params
