"""What every stage shares: where it reads and writes, how its folder is published whole, how it runs alone."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from seam.data.problems import TargetProblem
from seam.errors import SeamError, SuspectResultWarning
from tasks.project import stopping
from tasks.project.advice import advising, doubt
from tasks.project.alone import TIMES, WAITS, alone
from tasks.project.code_digests import note_own_code
from tasks.project.last_good import bring_back
from tasks.project.machine import FAULTS, refusal
from tasks.project.params import Params, load_params
from tasks.project.stages import KINDS, all_stages, kind_of
from tasks.project.students import StudentName, parse_method
from tasks.project.subject import StageRun, Subject, check, label_of, stage_folder

logger = logging.getLogger(__name__)

Scalar = str | int | float | bool | None
Progress = Callable[[float, str], None]
"""Called with (share done in [0, 1], a short text) as a stage goes on."""


@dataclass(frozen=True)
class StageResult:
    """What a stage hands back: a few scalars to show, and the files it made."""

    stage: str
    subject: Subject | None
    """None for a stage of the project."""
    summary: Mapping[str, Scalar]
    files: tuple[str, ...]


@dataclass(frozen=True)
class StageContext:
    """Where one run of one stage reads and writes."""

    stage: str
    params: Params
    root: Path
    subject: Subject | None = None
    """What it works on; None for a stage of the project."""
    progress: Progress = field(default=lambda share, text: None, compare=False)

    def folder(self, stage: str, student: StudentName | None = None) -> Path:
        """The published folder of a stage, of this subject where the stage has one; or of one of its students."""
        return stage_folder(self.root, stage, self.subject if student is None else self.whole.of(student))

    def artifact(self, stage: str, name: str) -> Path:
        """A file that an earlier stage published."""
        return self.folder(stage) / name

    @property
    def work_folder(self) -> Path:
        """Scratch of this stage beside its folder: unfinished outputs and checkpoints survive a kill here."""
        published = self.folder(self.stage)
        return published.with_name(f"{published.name}.partial")

    @property
    def run(self) -> StageRun:
        """The stage, and what it works on."""
        return StageRun(self.stage, self.subject)

    @property
    def whole(self) -> Subject:
        """The subject; for a stage of a student, the one that the student belongs to."""
        assert self.subject is not None, f"{self.stage} is a stage of the project"
        return self.subject.whole

    @property
    def name(self) -> str:
        """The subject's name: of the problem, or of the target."""
        return self.whole.name

    @property
    def student(self) -> StudentName:
        """The student that a stage of students works on."""
        student = self.subject.student if self.subject else None
        assert student is not None, f"{self.stage} is no stage of a student"
        return student

    def target_problem(self, source_classes: tuple[str, ...]) -> TargetProblem:
        """This problem over the classes of the source."""
        return TargetProblem.of(self.name, self.params.problems[self.name], source_classes)

    @contextmanager
    def publish(self) -> Iterator[Path]:
        """A new empty folder to write outputs to; it replaces the published one when the block ends without error.

        The published folder is at any moment the old one, absent, or the new one, never a mixture.
        """
        published = self.folder(self.stage)
        outputs = self.work_folder / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir(parents=True)
        yield outputs
        shutil.rmtree(published, ignore_errors=True)
        outputs.replace(published)
        shutil.rmtree(self.work_folder, ignore_errors=True)

    def result(self, summary: Mapping[str, Scalar]) -> StageResult:
        """The result of this stage, listing every file in its published folder."""
        files = sorted(str(p.relative_to(self.root)) for p in self.folder(self.stage).iterdir())
        return StageResult(self.stage, self.subject, dict(summary), tuple(files))


def execute(body: Callable[[StageContext], StageResult], context: StageContext) -> StageResult:
    """Run a stage's body; errors name the parameter to change, failures of the machine are one line like any other.

    What takes times has the machine to itself among all that do.
    """
    takes_times = all_stages()[context.stage].times is not None
    waits = partial(context.progress, 0.0, WAITS)
    try:
        with advising(context.run), alone([TIMES], waits) if takes_times else nullcontext():
            return body(context)
    except FAULTS as e:
        refused = refusal(e, context.stage, context.root)
        if refused is None:
            raise
        raise SeamError(refused) from e


@contextmanager
def collect_warnings(context: StageContext) -> Iterator[list[str]]:
    """The texts of SuspectResultWarnings raised inside the block (logged too), for the model card.

    They say which parameter of the stage to change.
    """
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SuspectResultWarning)
        yield texts
    for w in caught:
        if isinstance(w.message, SuspectResultWarning):
            texts.append(doubt(w.message, context.run))
            logger.warning("%s", texts[-1])
        else:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


def main(body: Callable[[StageContext], StageResult], description: str | None) -> None:
    """Command line of a stage run alone.

    `python -m tasks.<stage>`, with the flags of a subject where the stage has one. Exits non-zero on
    failure.
    """
    with stopping.interruptible():
        _run_alone(body, description)


def _run_alone(body: Callable[[StageContext], StageResult], description: str | None) -> None:
    stage = body.__name__
    arguments = _arguments(stage, description)
    log_to_terminal()
    try:
        params = load_params(arguments.params)
        subject = _subject(stage, arguments, params)
        if any(stage == kind.source for kind in KINDS.values()):
            note_own_code(Path.cwd())
        result = _executed(body, StageContext(stage, params, Path.cwd(), subject))
    except SeamError as e:
        logger.debug("stage failed", exc_info=True)
        sys.exit(f"error: {e}")
    shown = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in result.summary.items())
    logger.info("%s done: %s", label_of(stage, subject), shown)


def _executed(body: Callable[[StageContext], StageResult], context: StageContext) -> StageResult:
    """Run a stage's body; its last good result stays where it fails."""
    try:
        return execute(body, context)
    except Exception:
        bring_back(context.root, context.run)
        raise


def log_to_terminal() -> None:
    """For a command run alone; SEAM_LOG_LEVEL says how much."""
    logging.basicConfig(
        level=os.environ.get("SEAM_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


def _arguments(stage: str, description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{stage}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="parameters (default: params.yaml)"
    )
    kind = kind_of(stage)
    if kind is not None:
        named = f"a name under `{kind.section}` in the parameters"
        parser.add_argument(f"--{kind.name}", dest="subject", required=True, metavar="NAME", help=named)
    if all_stages()[stage].of == "student":
        parser.add_argument(
            "--method", required=True, metavar="METHOD", help=f"METHOD or METHOD-PERCENT, as in `{stage}.methods`"
        )
        parser.add_argument("--seed", required=True, type=int, metavar="N", help=f"as in `{stage}.seeds`")
    return parser.parse_args()


def _subject(stage: str, arguments: argparse.Namespace, params: Params) -> Subject | None:
    """What the command line names."""
    kind = kind_of(stage)
    if kind is None:
        return None
    subject = Subject(kind.name, arguments.subject)
    check(params, subject)
    if all_stages()[stage].of != "student":
        return subject
    parse_method(arguments.method)
    return subject.of(StudentName(arguments.method, arguments.seed))
