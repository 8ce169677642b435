"""Bars with the time left, where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm.auto import tqdm


@dataclass(frozen=True)
class Shown:
    """Whether progress is shown."""

    wanted: bool

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
        """A bar, while the block runs; what it gives takes how many units are done, and a short text."""
        with tqdm(total=total, desc=title, unit=unit, disable=not self.wanted) as bar:

            def on_step(done: int, text: str) -> None:
                bar.update(done - bar.n)
                bar.set_postfix_str(text)

            yield on_step
