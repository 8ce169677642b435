"""Where in a checkpoint the weights of an architecture are: under which name, and which other names they have there.

Every name in a checkpoint is a path, `state_dict.model.conv1.weight`. A candidate is a path under
which all weights of the architecture are, or would be but for the name of one module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from torch import Tensor

_AROUND = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that DataParallel, torch.compile, FSDP and checkpointing of activations put around a network or a part."""
_COUNTS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
"""Last parts of names: what training and profilers count, which no output depends on."""
_MEASURES = re.compile(
    r"(^|_)(criterion|criteria|loss(es)?|loss_?fn|metrics?|acc|accuracy|top\d?|auroc|auc|f1|precision|recall|confmat)"
    r"(_|\d|$)",
    re.IGNORECASE,
)
"""Parts of names of losses and metrics, which lie beside the layers of a network."""
_AVERAGED = frozenset({"ema", "avg", "averaged", "average", "swa", "shadow", "polyak"})
"""Words for a running average of weights."""
_COMMON = frozenset({"state", "dict", "model", "net", "network", "weights", "params", "module", "best", "last"})
"""Words for weights that do not say which."""


@dataclass(frozen=True)
class Candidate:
    """A part of a checkpoint that may be the weights."""

    path: str
    """To it; "" for the whole checkpoint."""
    tensors: Mapping[str, Tensor]
    """By the names that the architecture has for them; counts too."""
    missing: tuple[str, ...] = ()
    """Names of the architecture that it lacks."""
    unexpected: tuple[str, ...] = ()
    """Names that the architecture lacks."""
    averaged: bool = False
    """Whether it is a running average of weights, as its name or a count says."""
    notes: tuple[str, ...] = ()
    """What was done to its names, in words."""

    @property
    def complete(self) -> bool:
        """Whether it has all names of the architecture and no others."""
        return not self.missing and not self.unexpected

    @property
    def is_common(self) -> bool:
        """Whether its path says nothing about which of several networks it is."""
        return _words(self.path) <= _COMMON | _AVERAGED

    def is_called(self, name: str) -> bool:
        """Whether somebody may call it so: by its path, the beginning of it or one part; "." is the whole."""
        return name in (self.path or ".", *self.path.split(".")) or self.path.startswith(f"{name}.")

    def fits(self, expected: Mapping[str, Tensor]) -> bool:
        """Whether every tensor has the shape of the architecture's."""
        return all(v.shape == expected[k].shape for k, v in self.tensors.items() if k in expected)

    def same_as(self, other: Candidate) -> bool:
        """Whether it holds the same values."""
        return self.tensors.keys() == other.tensors.keys() and all(
            v is other.tensors[k] or torch.equal(v, other.tensors[k]) for k, v in self.tensors.items()
        )


def is_count(name: str) -> bool:
    """Whether a name is of a count, which no output depends on."""
    return name.rpartition(".")[2] in _COUNTS


def is_measure(name: str) -> bool:
    """Whether a name is of a loss or a metric, or of a count."""
    return is_count(name) or any(_MEASURES.search(part) for part in name.split("."))


def candidates(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[Candidate]:
    """The complete candidates; where there is none, the one that lacks least.

    Args:
        expected: the state dict of the architecture.
        tensors: of a checkpoint, by their paths in it.
    """
    needed = sum(not is_count(name) for name in expected)
    below = Counter(path for name in tensors for path in _paths_to(name))
    paths = [path for path, count in below.items() if 2 * count >= needed or not path]
    found: list[Candidate] = []
    for path in sorted(paths, key=lambda p: p.count(".") + bool(p)):
        found = _with_new(found, _candidate(path, expected, tensors))
    whole = [c.path for c in found if not c.missing]
    found = [_apart_from(c, whole) for c in found]
    complete = [c for c in found if c.complete] or [c for c in (_renamed(c, expected) for c in found) if c.complete]
    return complete or [min(found, key=lambda c: (len(c.missing), len(c.unexpected)))]


def _paths_to(name: str) -> Iterator[str]:
    """The paths that a name is below: "", "state_dict", "state_dict.model"."""
    yield ""
    yield from (name[:i] for i, letter in enumerate(name) if letter == ".")


def _words(path: str) -> set[str]:
    return {*re.split(r"[\W_]+", path.lower())} - {""}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _AROUND)


def _candidate(path: str, expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Candidate:
    """What is below a path, by the architecture's names as far as it has them."""
    start = f"{path}." if path else ""
    below = {name.removeprefix(start): v for name, v in tensors.items() if name.startswith(start)}
    plain = {_plain(name): name for name in expected}
    if len(plain) < len(expected):  # two names would be one
        plain = {name: name for name in expected}
    found: dict[str, Tensor] = {}
    around: set[str] = set()
    for name in sorted(below, key=lambda n: n.count(".")):  # a plain name before one with something around it
        ours = name if name in expected else plain.get(_plain(name), name)
        if ours in expected and ours not in found:
            around |= _AROUND & (set(name.split(".")) ^ set(ours.split(".")))
        found.setdefault(ours, below[name])
    tops = {name.partition(".")[0] for name in expected}
    extra = [name for name in found if name not in expected]
    unexpected = [n for n in extra if not is_count(n) and (n.partition(".")[0] in tops or not is_measure(n))]
    return Candidate(
        path,
        {name: v for name, v in found.items() if name in expected or name in unexpected},
        missing=tuple(n for n in expected if n not in found and not is_count(n)),
        unexpected=tuple(unexpected),
        averaged=_is_averaged(path, tensors),
        notes=(f"{', '.join(sorted(around))} taken out of names",) if around else (),
    )


def _is_averaged(path: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a word in the path says so, or a count of averages beside or around the network."""
    if _AVERAGED & _words(path):
        return True
    while f"{path}.n_averaged".lstrip(".") not in tensors:
        if path.rpartition(".")[2] not in _AROUND:
            return False
        path = path.rpartition(".")[0]
    return True


def _with_new(found: list[Candidate], new: Candidate) -> list[Candidate]:
    """The candidates and a new one; of two with the very same tensors, the one whose names needed less change."""
    mine = {name: id(v) for name, v in new.tensors.items()}
    for old in found:
        if not new.missing and all(name in old.tensors and id(old.tensors[name]) == mine[name] for name in mine):
            return [c for c in found if c is not old] + [new] if old.notes else found
    return [*found, new]


def _apart_from(candidate: Candidate, paths: Sequence[str]) -> Candidate:
    """A candidate without what is below others: another set of weights is nothing unexpected of this one."""
    start = f"{candidate.path}." if candidate.path else ""
    others = tuple(f"{p.removeprefix(start)}." for p in paths if p.startswith(start) and p != candidate.path)
    inside = {name for name in candidate.unexpected if name.startswith(others)}
    return replace(
        candidate,
        unexpected=tuple(name for name in candidate.unexpected if name not in inside),
        tensors={name: v for name, v in candidate.tensors.items() if name not in inside},
    )


def _renamed(candidate: Candidate, expected: Mapping[str, Tensor]) -> Candidate:
    """A candidate under the architecture's names when it differs in the name of one module, and in nothing else."""
    ours, theirs = _module_of(candidate.missing), _module_of(candidate.unexpected)
    tensors = candidate.tensors
    if not ours or not theirs or any(_below(k, ours) for k in tensors) or any(_below(k, theirs) for k in expected):
        return candidate
    renamed = {ours + k.removeprefix(theirs) if _below(k, theirs) else k: v for k, v in tensors.items()}
    unexpected = any(k not in expected and not is_count(k) for k in renamed)
    if unexpected or any(k not in renamed or renamed[k].shape[1:] != expected[k].shape[1:] for k in candidate.missing):
        return candidate
    note = f"its module '{theirs}' is '{ours}' in the architecture, and is loaded as that"
    return replace(candidate, tensors=renamed, missing=(), unexpected=(), notes=(*candidate.notes, note))


def _module_of(names: Sequence[str]) -> str:
    """The innermost module that holds all of these weights; "" when that is the whole network."""
    paths = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)


def _below(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")
