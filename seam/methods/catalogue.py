"""The methods, a row each: every list, label, mark, word and table of methods derives from here. No torch here.

A new method is a file in this folder, its row here, and its test. The text at the top of its file
is its card, with a paragraph for each of `PARTS`.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from seam.configs.methods import TransferConfig
from seam.configs.modules import ModulesConfig
from seam.configs.training import StudentTraining
from seam.errors import ConfigError

Makes = Literal["student", "modules", "segments"]
Role = Literal["yardstick", "ours", "rival", "control", "floor"]
PARTS = ("What it does", "When to use it", "Differences from the paper", "Published settings", "Claimed")
"""Of a card, in their order; a last paragraph may name the source."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method; `seam/methods/NAME.py` holds it."""

    name: str
    """In parameters and results; also that of its module."""
    label: str
    """As people read it in tables and figures."""
    words: str
    """One sentence for tables of methods and reports."""
    role: Role
    """In a comparison. `yardstick`: what accuracy is compared with; `floor`: what inherited
    nothing. There is one of each. The first of `ours` that is compared is registered."""
    mark: str
    """In figures, a marker of matplotlib; its colour is that of the role."""
    makes: Makes = "student"
    """A `student` of another data set; `modules`, one a class; `segments` of a network."""
    removes: str | None = None
    """Which number of a `TransferConfig` is the share of the convolutions' weights that it removes,
    dotted; a percentage behind its name sets it. None: nothing is removed."""
    training: str = "training"
    """Which section of a `TransferConfig` its student is trained by."""
    search: str | None = None
    """Which section of a `TransferConfig` its search is made by; None: it searches nothing."""
    cycles: str | None = None
    """Which number of a `ModulesConfig` says how many cycles its search for modules has, dotted; None: it
    searches in one."""

    def removal_of(self, config: TransferConfig) -> float:
        """Share of the convolutions' weights that it is asked to remove, in [0, 1)."""
        return 0.0 if self.removes is None else float(_at(config, self.removes))

    def with_removal(self, config: TransferConfig, removal: float) -> TransferConfig:
        """The same numbers, but for the share that it removes.

        Raises:
            ConfigError: it removes nothing, or not that much.
        """
        if self.removes is None:
            raise ConfigError(f"expected a method that removes weights, got '{self.name}', which removes none.")
        changed: TransferConfig = _with(config, self.removes, removal)
        return changed

    def training_of(self, config: TransferConfig) -> StudentTraining:
        """How its student is trained."""
        training: StudentTraining = _at(config, self.training)
        return training

    def rounds_of(self, config: TransferConfig) -> int:
        """Rounds of its search, at most."""
        return 0 if self.search is None else int(_at(config, f"{self.search}.rounds"))

    def cycles_of(self, config: ModulesConfig) -> int:
        """Cycles of its search for modules."""
        return 1 if self.cycles is None else int(_at(config, self.cycles))

    def card(self) -> Card:
        """What it does, when to use it, how it differs from its paper, and what was published of it.

        Raises:
            ConfigError: a part is missing at the top of its file.
        """
        return read_card(Path(__file__).with_name(f"{self.name}.py"))


@dataclass(frozen=True)
class Card:
    """The text at the top of a method's file."""

    title: str
    """Its first line."""
    parts: Mapping[str, str]
    """Of `PARTS`, and "Source" where there is one; each on one line."""


CATALOGUE: tuple[Method, ...] = (
    Method(
        name="standard",
        label="standard fine-tuning",
        words="All weights fine-tuned: the yardstick.",
        role="yardstick",
        mark="s",
    ),
    Method(
        name="seam",
        label="SeaM",
        words="The weights a search found the target to need, then fine-tuned.",
        role="ours",
        mark="o",
        removes="removal",
        search="search",
    ),
    Method(
        name="remos",
        label="ReMoS",
        words="Without the large weights that the target does not use, then fine-tuned.",
        role="rival",
        mark="D",
        removes="remos.ratio",
    ),
    Method(
        name="magnitude",
        label="magnitude-pruned",
        words="Without the smallest weights, then fine-tuned; a control.",
        role="control",
        mark="^",
        removes="removal",
    ),
    Method(
        name="random_mask",
        label="random mask",
        words="Without weights drawn by chance, then fine-tuned; a control.",
        role="control",
        mark="v",
        removes="removal",
    ),
    Method(
        name="retrain",
        label="trained from scratch",
        words="Nothing of the source: the floor.",
        role="floor",
        mark="*",
        training="retrain",
    ),
    Method(
        name="gradsplitter",
        label="GradSplitter",
        words="A module a class: its kernels and a small head, found by gradient descent.",
        role="ours",
        mark="P",
        makes="modules",
        cycles="gradsplitter.cycles",
    ),
    Method(
        name="cnnsplitter",
        label="CNNSplitter",
        words="A module a class: its kernels, found by a genetic search without training.",
        role="rival",
        mark="p",
        makes="modules",
        cycles="cnnsplitter.generations",
    ),
    Method(
        name="seam_modules",
        label="SeaM, a mask a class",
        words="A module a class: the single weights a search found the class to need.",
        role="rival",
        mark="H",
        makes="modules",
        cycles="seam_modules.max_rounds",
    ),
    Method(
        name="decomposition",
        label="decomposition",
        words="A module a class, without the units that are less active on it than on others.",
        role="rival",
        mark="X",
        makes="modules",
    ),
    Method(
        name="deeparc",
        label="DeepArc",
        words="Redundant blocks removed, and only the parts that need it trained again.",
        role="ours",
        mark="h",
        makes="segments",
    ),
)
"""In the order in which results are listed."""
STUDENTS = tuple(m for m in CATALOGUE if m.makes == "student")
"""Methods of a transfer."""
MODULES = tuple(m for m in CATALOGUE if m.makes == "modules")
"""Methods that take a network apart."""
(YARDSTICK,) = (m for m in STUDENTS if m.role == "yardstick")
(FLOOR,) = (m for m in STUDENTS if m.role == "floor")


def names(methods: tuple[Method, ...] = CATALOGUE) -> tuple[str, ...]:
    """What they are called in parameters."""
    return tuple(m.name for m in methods)


def find(name: str, among: tuple[Method, ...] = CATALOGUE, *, suffix: str = "") -> Method:
    """The method of a name.

    Args:
        name: of the method.
        among: those that may be meant.
        suffix: what the user wrote behind the name, for the message.

    Raises:
        ConfigError: none of them is called so.
    """
    found = next((m for m in among if m.name == name), None)
    if found is None:
        close = difflib.get_close_matches(str(name), names(among), n=1)
        hint = f"did you mean '{close[0]}{suffix}'?" if close else "`seam methods` lists them."
        raise ConfigError(f"expected a method, one of {', '.join(names(among))}, got '{name}{suffix}'; {hint}")
    return found


def read_card(path: Path) -> Card:
    """The card at the top of a Python file, which is not imported.

    Raises:
        ConfigError: a part is missing, or there twice.
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    title, *paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    parts: dict[str, str] = {}
    for paragraph in paragraphs:
        heading, colon, rest = paragraph.partition(": ")
        if not colon or heading not in (*PARTS, "Source") or heading in parts:
            raise ConfigError(
                f"{path}: expected paragraphs that begin with {', '.join(PARTS)}, got '{paragraph[:40]}'."
            )
        parts[heading] = rest
    if missing := [part for part in PARTS if part not in parts]:
        raise ConfigError(f"{path}: expected a paragraph '{missing[0]}: ...' at the top of the file, got none.")
    return Card(title, parts)


def _at(config: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), config)


def _with(config: Any, path: str, value: float) -> Any:
    first, _, rest = path.partition(".")
    return replace(config, **{first: _with(getattr(config, first), rest, value) if rest else value})
