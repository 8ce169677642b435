"""Which stages are current, one run as `dvc repro` would, and recorded: the cache shared with DVC.

The flow and `dvc repro` share `artifacts/`, the locks and the DVC cache. A stage runs here exactly
as in `dvc.stage.Stage.run`, with the body called in this process instead of `cmd` in a new one:
after a flow, `dvc repro` has nothing to do, and the other way round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows.depends_on import parameters_of
from flows.found_current import FoundCurrent, content_of, digest_of
from flows.lock_sections import Locks
from seam.errors import CacheError
from tasks.project.code_digests import CodeDigests, digests_path
from tasks.project.layout import lay_out
from tasks.project.params import load_params
from tasks.project.pipeline_template import TEMPLATES
from tasks.project.stages import DIGEST_STAGE, LAYOUT_STAGE
from tasks.project.subject import PIPELINE, Address

if TYPE_CHECKING:
    from flows.dvc_stages import DvcStages

Result = TypeVar("Result")
_SAVE_SECONDS = 2.0
"""Least time between two savings of what was found, while stages run: other processes read it."""
_CHECKED = "checked"
"""In place of what else decides, for checks of files alone."""
_CODE = "code"
"""What the digests of the code were written for, beside the stages that were found current."""
_DIGESTS, _LAYOUT = Address(PIPELINE, DIGEST_STAGE), Address(PIPELINE, LAYOUT_STAGE)


@dataclass(frozen=True)
class Staleness:
    """Why a stage has to run; empty when it is current."""

    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        return ", ".join(self.reasons) or "current"


class StageCache:
    """DVC's view of one project. Not for use by several threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        if not (root / ".dvc").is_dir():
            raise CacheError(f"{root}: the project has no .dvc folder; run `dvc init` in it, or clone it again.")
        self._locks = Locks(root)
        self._found = FoundCurrent(root)
        self._digests = CodeDigests(root, self._found.basis_of(_CODE))
        self._settled = False
        self.made: set[Address] = set()
        """Stages that were run or restored by this process, since somebody cleared it."""

    @cached_property
    def _dvc(self) -> DvcStages:
        from flows.dvc_stages import DvcStages

        return DvcStages(self._root, self._locks)

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

    def is_known(self, stage: Address) -> bool:
        """Whether the stage was found current and nothing has changed since, without a word from DVC (a second)."""
        self._settle_digests()
        return self._found.holds(str(stage), self._basis(stage))

    def is_current(self, stage: Address) -> bool:
        """Whether `dvc repro` would skip this stage: command, parameters, dependencies and outputs as in its lock."""
        if self.is_known(stage) and self._is_kept_up():
            return True
        with self._locked(str(stage)):
            return not self._ask(stage)

    def staleness(self, stage: Address) -> Staleness:
        """What changed since the stage last ran, in words; answers while another process runs it."""
        if self.is_known(stage):
            return Staleness(())
        if not (self._root / stage.file).is_file():
            return Staleness(("not laid out yet",))
        with self._dvc.clear(str(stage)):
            return Staleness(tuple(self._ask(stage)))

    def restore(self, stage: Address, *, travels: bool = False) -> bool:
        """Check a stale stage's outputs out of DVC's caches, if the same command, parameters and inputs ran before.

        As `dvc repro` does, old outputs are removed first: they belong to other inputs.

        Args:
            stage: which.
            travels: whether it is looked for in DVC's remote as well.

        Returns:
            Whether the stage is now current; False: it has to run.
        """
        with self._locked(str(stage)):
            self._found.forget(str(stage))
            restored = self._dvc.restore(stage, travels)
            if restored:
                self._note(stage)
                self.made.add(stage)
        return restored

    def run(self, stage: Address, body: Callable[[], Result]) -> Result:
        """Run the body of a stage and record what it read and wrote in its dvc.lock and the cache.

        The stage's files are reserved meanwhile, so that a `dvc repro` started elsewhere reports
        them busy.

        Raises:
            CacheError: busy, or an input changed while the stage ran (its result is not recorded
                then).
        """
        name = str(stage)
        with self._locked(name):
            self._found.forget(name)
            before = self._dvc.load(stage)
            self._dvc.forget(stage)  # what is kept is what the files say, and this is about to differ
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
                self._dvc.record(stage, before)
                self._note(stage)
                self.made.add(stage)
        return result

    def send(self, stage: Address) -> None:
        """Put what a stage made, as recorded, into DVC's remote, where other machines look for it."""
        self._dvc.send(stage)

    def recorded(self, stages: Iterable[Address]) -> list[tuple[Address, str]]:
        """The section of its lock for each stage, as recorded here."""
        return [(stage, self._locks.of(stage).text_of(stage.name)) for stage in stages]

    def take(self, recorded: Iterable[tuple[Address, str]]) -> None:
        """Take over what another folder of this project recorded: into the locks, not the outputs.

        Raises:
            CacheError: a lock is not as DVC writes it.
        """
        for stage, section in recorded:
            lock = self._locks.of(stage)
            if section and lock.text_of(stage.name) != section:
                with self._locked(str(stage)):
                    if not lock.write(stage.name, section):
                        raise CacheError(
                            f"{stage.lock}: expected a file as DVC writes it, got another; `git checkout {stage.lock}`"
                            " brings the last one back."
                        )

    def put_back(self, stage: Address, section: str) -> bool:
        """Have a stale stage as it was recorded once, where its inputs are as they were then; whether they are.

        Args:
            stage: which.
            section: of its lock at that time.
        """
        lock = self._locks.of(stage)
        with self._locked(str(stage)):
            recorded = lock.text_of(stage.name)
            if not self._ask(stage):
                return True
            self._found.forget(str(stage))
            if lock.write(stage.name, section) and self._dvc.check_out_whole(stage):
                self._note(stage)
                return True
            if recorded:
                lock.write(stage.name, recorded)
            return False

    def check_out(self, stages: Iterable[Address]) -> None:
        """Put recorded outputs, which are in the cache, into the workspace."""
        for stage in stages:
            if not self.is_current(stage):
                with self._locked(str(stage)):
                    self._dvc.check_out(stage)
                    self._note(stage)

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

    def _ask(self, stage: Address) -> list[str]:
        """What DVC says has changed; noted where nothing has."""
        basis = self._basis(stage)
        paths = self._found.relative(self._dvc.files_of(stage))
        state = self._found.state_of(paths)
        changes = self._dvc.changes(stage)
        if not changes and basis == self._basis(stage):
            self._found.note(str(stage), basis, paths, state)
        return changes

    def _note(self, stage: Address) -> None:
        """The stage was recorded just now."""
        paths = self._found.relative(self._dvc.files_of(stage))
        self._found.note(str(stage), self._basis(stage), paths, self._found.state_of(paths))
        self._found.save(every=_SAVE_SECONDS)

    def _basis(self, stage: Address) -> str:
        """A digest of all that decides whether a stage is current but its files.

        How it is defined and recorded, its parameters, the digests of its code.
        """
        shared = f"{digest_of(self._root / stage.file)} {parameters_of(self._root, stage)}"
        return hashlib.sha256(f"{shared}{self._locks.of(stage).text_of(stage.name)}".encode()).hexdigest()[:24]

    def _input_name(self, dep: Any) -> str:
        return "the stage's code" if dep.fs_path == str(digests_path(self._root)) else str(dep)

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """DVC's own lock, with the stages done and recorded that are of DVC alone."""
        with self._dvc.locked(what):
            self._settle_digests()
            self._keep_up()
            yield

    def _settle_digests(self) -> None:
        """Have the digests of the code as the code is now; not in a pipeline that has none."""
        if _DIGESTS.name in self._upkeep() and not self._settled and self._digests.refresh():
            self._found.note(_CODE, self._digests.state, [], "")

    def _keep_up(self) -> None:
        """Do what the stages do that are of DVC alone, where DVC says that they have to run."""
        for name in self._upkeep():
            stage = Address(PIPELINE, name)
            if not self._is_recorded(stage):
                entry = self._dvc.load(stage)
                if entry.changed():
                    if stage == _LAYOUT:
                        lay_out(self._root, load_params(self._root / "params.yaml"))
                    self._dvc.record(stage, entry)
                self._found.note(name, self._basis_of_upkeep(stage), [], "")

    def _is_kept_up(self) -> bool:
        """Whether dvc.lock has those stages as code, parameters and pipeline files are now."""
        return all(self._is_recorded(Address(PIPELINE, name)) for name in self._upkeep())

    def _is_recorded(self, stage: Address) -> bool:
        return self._basis_of_upkeep(stage) == self._found.basis_of(stage.name)

    def _basis_of_upkeep(self, stage: Address) -> str:
        state = self._found.state_of([str(TEMPLATES)]) if stage == _LAYOUT else self._digests.state
        return f"{self._basis(stage)} {state}"

    def _upkeep(self) -> tuple[str, ...]:
        """Names of the stages in dvc.yaml that are of DVC alone: their files are kept here."""
        return _upkeep_of(content_of(self._root / PIPELINE))


@lru_cache(maxsize=4)
def _upkeep_of(pipeline: bytes) -> tuple[str, ...]:
    return tuple(stage.name for stage in (_LAYOUT, _DIGESTS) if re.search(rf"(?m)^  {stage.name}:".encode(), pipeline))


@lru_cache(maxsize=1)
def shared_cache(root: Path) -> StageCache:
    """The one StageCache of this process."""
    return StageCache(root)
