"""Results of single stages on their way through DVC's remote, with the entry of DVC's run cache that finds them again.

`dvc push --run-cache` looks at every entry of the cache each time; a worker that has finished one
stage sends that one, and one that begins a stage asks for that one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.exceptions import CollectCacheError
from dvc.stage.cache import RunCacheNotFoundError, _can_hash, _get_stage_hash

from seam.errors import CacheError

_HASH = "md5-dos2unix"
"""DVC keeps its run cache beside the objects of that name."""
_PARTIAL = ".partial"


class RemoteError(CacheError):
    """DVC's remote does not answer, or not as it should."""


@contextlib.contextmanager
def remote_errors(repo: Any, what: str) -> Iterator[None]:
    """Turn what a remote's client raises, each its own, into one line."""
    try:
        yield
    except RunCacheNotFoundError:
        raise
    except Exception as e:
        name = repo.config["core"].get("remote", "")
        url = repo.config["remote"].get(name, {}).get("url", "none")
        line = " ".join(str(e).split()) or type(e).__name__
        raise RemoteError(
            f"{what}: DVC's remote '{name}' ({url}) failed: {line}; see that it answers and run again."
        ) from e


def keep_remotes(repo: Any) -> None:
    """One client a remote in a process: DVC makes one for each question, and half a second goes into one for S3."""
    made: dict[str | None, Any] = {}
    make = repo.cloud.get_remote

    def get_remote(name: str | None = None, command: str = "<command>") -> Any:
        if name not in made:
            made[name] = make(name, command)
        return made[name]

    repo.cloud.get_remote = get_remote


def drop_half_written_records(repo: Any, entry: Any) -> None:
    """Remove what a killed process left in the cache of runs for a stage, nobody else being at work on it.

    DVC would take it for the newest record, which it lacks parts of.
    """
    if not _can_hash(entry):
        return
    folder = Path(_runs(repo.cache.legacy, entry))
    for left in (*folder.glob(".*.tmp"), *folder.glob(f"*{_PARTIAL}")):
        left.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there are whole ones, or nothing
        folder.rmdir()


def send(repo: Any, entry: Any) -> None:
    """Put the outputs of a recorded stage into the remote, then what finds them by the stage's inputs."""
    for objects in entry.get_used_objs().values():
        repo.cloud.push(objects)
    if not _can_hash(entry):
        return
    here, there = repo.cache.legacy, repo.cloud.get_remote_odb(None, "push", hash_name=_HASH)
    folder = _runs(here, entry)
    for path in here.fs.find(folder) if here.fs.exists(folder) else ():
        target = there.fs.join(_runs(there, entry), here.fs.name(path))
        if not there.fs.exists(target):
            _copy(here.fs, path, there.fs, target)


def ask(repo: Any, entry: Any) -> None:
    """Bring what the remote has of a run of a stage with its inputs as they are here: the record of it, the outputs."""
    if _can_hash(entry):
        _bring_record(repo, entry)
    known = entry if all(out.hash_info for out in entry.outs) else _known(repo, entry)
    with contextlib.suppress(CollectCacheError):
        for objects in known.get_used_objs().values() if known is not None else ():
            repo.cloud.pull(objects)


def _known(repo: Any, entry: Any) -> Any:
    """The stage as the cache of runs has it for these inputs, or None."""
    record = repo.stage_cache._load(entry) if _can_hash(entry) else None
    return None if record is None else repo.stage_cache._create_stage(record, wdir=entry.wdir)


def _bring_record(repo: Any, entry: Any) -> None:
    """Have what the remote knows of runs with these inputs in this cache, if it knows none."""
    here, there = repo.cache.legacy, repo.cloud.get_remote_odb(None, "fetch", hash_name=_HASH)
    if here.fs.exists(_runs(here, entry)):
        return
    with contextlib.suppress(FileNotFoundError):
        for path in there.fs.find(_runs(there, entry)):
            _copy(there.fs, path, here.fs, here.fs.join(_runs(here, entry), there.fs.name(path)))


def _runs(odb: Any, entry: Any) -> str:
    key = _get_stage_hash(entry)
    folder: str = odb.fs.join(odb.path, "runs", key[:2], key)
    return folder


def _copy(source: Any, path: str, target: Any, to: str) -> None:
    """Whole or not at all: under another name first, where renaming is at hand."""
    content = source.cat_file(path)
    target.makedirs(target.parent(to), exist_ok=True)
    if target.protocol != "local":
        target.pipe_file(to, content)
        return
    target.pipe_file(f"{to}{_PARTIAL}", content)
    target.mv(f"{to}{_PARTIAL}", to)
