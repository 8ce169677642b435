"""Which stages are current, one run as `dvc repro` would, and recorded: the cache shared with DVC.

The flow and `dvc repro` share `artifacts/`, `dvc.lock` and the DVC cache. A stage runs here exactly
as in `dvc.stage.Stage.run`, with the body called in this process instead of `cmd` in a new one:
after a flow, `dvc repro` has nothing to do, and the other way round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows.found_current import FoundCurrent, content_of, digest_of
from flows.lock_sections import LockSections
from seam.errors import CacheError
from tasks.project.code_digests import CodeDigests, digests_path
from tasks.project.stages import DIGEST_STAGE

if TYPE_CHECKING:
    from flows.dvc_stages import DvcStages

Result = TypeVar("Result")
_SAVE_SECONDS = 2.0
"""Least time between two savings of what was found, while stages run: other processes read it."""
_CHECKED = "checked"
"""In place of what else decides, for checks of files alone."""
_CODE = "code"
"""What the digests of the code were written for, beside the stages that were found current."""


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
        if not (root / ".dvc").is_dir():
            raise CacheError(f"{root}: the project has no .dvc folder; run `dvc init` in it, or clone it again.")
        self._lock = LockSections(root / "dvc.lock")
        self._found = FoundCurrent(root)
        self._digests = CodeDigests(root, self._found.basis_of(_CODE))
        self._settled = False

    @cached_property
    def _dvc(self) -> DvcStages:
        from flows.dvc_stages import DvcStages

        return DvcStages(self._root, self._lock)

    def close(self) -> None:
        """Keep what was found, release DVC's databases."""
        self.save()
        if "_dvc" in self.__dict__:
            self._dvc.close()

    def save(self) -> None:
        """Keep what was found for the next process."""
        self._found.save()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Look at the code once for all questions in the block, of which there may be hundreds."""
        self._settle_digests()
        self._settled = True
        try:
            yield
        finally:
            self._settled = False

    def is_known(self, stage: str, problem: str | None = None) -> bool:
        """Whether the stage was found current and nothing has changed since, without a word from DVC (a second)."""
        name = address(stage, problem)
        self._settle_digests()
        return self._found.holds(name, self._basis(name))

    def is_current(self, stage: str, problem: str | None = None) -> bool:
        """Whether `dvc repro` would skip this stage: command, parameters, dependencies and outputs as in dvc.lock."""
        name = address(stage, problem)
        if self.is_known(stage, problem) and self._are_digests_recorded():
            return True
        with self._locked(name):
            return not self._ask(name)

    def staleness(self, stage: str, problem: str | None = None) -> Staleness:
        """What changed since the stage last ran, in words; answers while another process runs it."""
        if self.is_known(stage, problem):
            return Staleness(())
        name = address(stage, problem)
        with self._dvc.clear(name):
            return Staleness(tuple(self._ask(name)))

    def restore(self, stage: str, problem: str | None = None) -> bool:
        """Check a stale stage's outputs out of DVC's caches, if the same command, parameters and inputs ran before.

        As `dvc repro` does, old outputs are removed first: they belong to other inputs.

        Returns:
            Whether the stage is now current; False: it has to run.
        """
        name = address(stage, problem)
        with self._locked(name):
            self._found.forget(name)
            restored = self._dvc.restore(name)
            if restored:
                self._note(name)
        return restored

    def run(self, stage: str, problem: str | None, body: Callable[[], Result]) -> Result:
        """Run the body of a stage and record what it read and wrote in dvc.lock and the cache.

        The stage's files are reserved meanwhile, so that a `dvc repro` started elsewhere reports
        them busy.

        Raises:
            CacheError: busy, or an input changed while the stage ran (its result is not recorded
                then).
        """
        name = address(stage, problem)
        with self._locked(name):
            self._found.forget(name)
            before = self._dvc.load(name)
            self._dvc.forget(name)  # what is kept is what the files say, and this is about to differ
            before.save_deps()
        with self._dvc.reserved(before):
            result = body()
            with self._locked(name):
                changed = [self._input_name(dep) for dep in before.deps if dep.changed()]
                if changed:
                    raise CacheError(
                        f"{name}: {', '.join(changed)} changed while the stage ran, so its result is not kept; run"
                        " again."
                    )
                self._dvc.record(before)
                self._note(name)
        return result

    def checked(self, what: str, paths: Sequence[str], check: Callable[[], None]) -> None:
        """Call `check`, unless it passed when these files and folders were as they are now."""
        if not self._found.holds(what, _CHECKED):
            state = self._found.state_of(paths)
            check()
            self._found.note(what, _CHECKED, [*paths], state)

    def pull(self, target: str) -> None:
        """Bring a tracked file or folder (`data.dvc`) into the workspace, from the cache or the remote."""
        self._dvc.pull(target)

    def remotes(self) -> dict[str, str]:
        """Name and address of the remotes DVC is configured with."""
        return self._dvc.remotes()

    def _ask(self, name: str) -> list[str]:
        """What DVC says has changed; noted where nothing has."""
        basis = self._basis(name)
        paths = self._found.relative(self._dvc.files_of(name))
        state = self._found.state_of(paths)
        changes = self._dvc.changes(name)
        if not changes and basis == self._basis(name):
            self._found.note(name, basis, paths, state)
        return changes

    def _note(self, name: str) -> None:
        """The stage was recorded just now."""
        paths = self._found.relative(self._dvc.files_of(name))
        self._found.note(name, self._basis(name), paths, self._found.state_of(paths))
        self._found.save(every=_SAVE_SECONDS)

    def _basis(self, name: str) -> str:
        """A digest of everything but files that decides whether a stage is current."""
        self._lock.refresh()
        return hashlib.sha256(f"{self._shared()}{self._lock.text_of(name)}".encode()).hexdigest()[:24]

    def _shared(self) -> str:
        """What decides for all stages: how they are defined, the parameters, the digests of the code."""
        paths = (self._root / "dvc.yaml", self._root / "params.yaml", digests_path(self._root))
        return " ".join(digest_of(path) for path in paths)

    def _input_name(self, dep: Any) -> str:
        return "the stage's code" if dep.fs_path == str(digests_path(self._root)) else str(dep)

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """DVC's own lock, with the digests of the code as the code is now, in dvc.lock too."""
        with self._dvc.locked(what):
            if self._settle_digests():
                self._record_digests()
            yield

    def _settle_digests(self) -> bool:
        """Have the digests of the code as the code is now; False in a pipeline that has none."""
        if not _has_digests(content_of(self._root / "dvc.yaml")):
            return False
        if not self._settled and self._digests.refresh():
            self._found.note(_CODE, self._digests.state, [], "")
        return True

    def _record_digests(self) -> None:
        """Do what the stage of the digests does."""
        if self._are_digests_recorded():
            return
        entry = self._dvc.load(DIGEST_STAGE)
        if entry.changed():
            self._dvc.record(entry)
        self._found.note(DIGEST_STAGE, self._digests_basis(), [], "")

    def _are_digests_recorded(self) -> bool:
        """Whether dvc.lock has them for the code as it was looked at last, or the pipeline has none."""
        has_none = not _has_digests(content_of(self._root / "dvc.yaml"))
        return has_none or self._digests_basis() == self._found.basis_of(DIGEST_STAGE)

    def _digests_basis(self) -> str:
        return f"{self._basis(DIGEST_STAGE)} {self._digests.state}"


@lru_cache(maxsize=4)
def _has_digests(pipeline: bytes) -> bool:
    """Whether dvc.yaml has the stage of the digests."""
    return re.search(rf"(?m)^  {DIGEST_STAGE}:".encode(), pipeline) is not None


@lru_cache(maxsize=1)
def shared_cache(root: Path) -> StageCache:
    """The one StageCache of this process."""
    return StageCache(root)
