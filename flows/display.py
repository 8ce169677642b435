"""What a person at a terminal sees while the stages run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasks.project.stage import Scalar

_LABEL_WIDTH = 34
_PLAIN_SECONDS = 15.0
"""Seconds between progress lines where there is no terminal to draw a bar on."""


class Display:
    """Shows nothing: a run under a worker is watched on its run page."""

    def info(self, text: str) -> None:
        """One line of information."""

    def started(self, label: str) -> None:
        """A stage begins to run."""

    def progress(self, label: str, share: float, text: str) -> None:
        """A stage goes on; `share` in [0, 1]."""

    def ran(self, label: str, seconds: float, summary: Mapping[str, Scalar]) -> None:
        """A stage ran to its end."""

    def part(self, label: str, text: str, good: bool = True) -> None:
        """A part of what is going on ended."""

    def cached(self, label: str, how: str) -> None:
        """A stage did not have to run."""

    def failed(self, label: str, line: str) -> None:
        """A stage failed."""

    def close(self) -> None:
        """The run is over, also where a stage was stopped."""


class TerminalDisplay(Display):
    """One line a stage, however many of the run's parts need it, and a bar with the time left while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_plain = 0.0
        self._said: set[str] = set()

    def info(self, text: str) -> None:
        self._console.print(f"[dim]{escape(text)}[/dim]", highlight=False)

    def started(self, label: str) -> None:
        self._last_plain = time.monotonic()
        if not self._console.is_terminal:
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task(escape(label.ljust(_LABEL_WIDTH)), total=None, text="")
        self._bar.start()

    def progress(self, label: str, share: float, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=1.0, completed=share, text=escape(text))
        elif time.monotonic() - self._last_plain >= _PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self._line("…", "dim", label, f"{100 * share:3.0f}%  {text}")

    def ran(self, label: str, seconds: float, summary: Mapping[str, Scalar]) -> None:
        self._stop_bar()
        self._line("✓", "green", label, f"{seconds:7.1f} s  {summary_text(summary)}")

    def part(self, label: str, text: str, good: bool = True) -> None:
        self._line(*(("✓", "green") if good else ("✗", "red")), label, text)

    def cached(self, label: str, how: str) -> None:
        if label not in self._said:
            self._line("=", "dim", label, f"   {how}")

    def failed(self, label: str, line: str) -> None:
        self._stop_bar()
        self._line("✗", "red", label, f"   {line}")

    def close(self) -> None:
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    def _line(self, mark: str, style: str, label: str, text: str) -> None:
        self._said.add(label)
        self._console.print(
            f"[{style}]{mark}[/{style}] {escape(label.ljust(_LABEL_WIDTH))}{escape(text)}",
            highlight=False,
            soft_wrap=True,
        )


_SILENT = Display()
_current: ContextVar[Display] = ContextVar("display", default=_SILENT)


def current() -> Display:
    """The display of this run."""
    return _current.get()


@contextmanager
def shown_on(display: Display) -> Iterator[None]:
    """Use `display` for the runs inside the block, and close it."""
    token = _current.set(display)
    try:
        yield
    finally:
        _current.reset(token)
        display.close()


def summary_text(summary: Mapping[str, Scalar]) -> str:
    """A stage's few numbers on one line: "density 0.1234  val accuracy 0.99"."""
    return "  ".join(f"{name.replace('_', ' ')} {value_text(value)}" for name, value in summary.items())


def value_text(value: Scalar) -> str:
    """One value, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
