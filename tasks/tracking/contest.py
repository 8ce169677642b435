"""A version against the present champion: what it may lose, and in what it has to be better beyond the noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seam.measures.intervals import Share, shares_interval
from tasks.tracking.gates import ROUNDING, Verdict, lost_of, right_of, shown_points
from tasks.tracking.policy import ChampionGates, RegistryPolicy

STANDING = "seam.standing"
"""Tag of a version: its `Standing`."""


@dataclass(frozen=True)
class Standing:
    """What is known of a version when others are held against it."""

    test: str
    """Which test images and classes it was measured on, as a digest."""
    right: Share
    """Of them."""
    attack: str = ""
    """What they were attacked with, as a digest."""
    lost: Share | None = None
    """Of those it gets right, under that attack; None: not measured."""
    weights: int | None = None
    """That are not zero."""
    milliseconds: float | None = None
    timed: str = ""
    """Machine, engine, batch and threads of the time."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], images: int, test: str, **known: Any) -> Standing:
        """From a stage's figures: accuracy, params_nonzero, and defect_inheritance_rate where it was measured."""
        weights = entry.get("params_nonzero")
        return cls(
            test,
            right_of(entry, images),
            lost=lost_of(entry, images),
            weights=None if weights is None else int(weights),
            **known,
        )

    def as_tag(self) -> str:
        """Text for the registry."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Standing | None:
        """Of a version; None where an older seam registered it."""
        try:
            said = json.loads(tags[STANDING])
            shares = {name: said[name] and Share(**said[name]) for name in ("right", "lost")}
            return cls(**{**said, **shares})
        except (KeyError, ValueError, TypeError):
            return None


@dataclass(frozen=True)
class _Compared:
    """One figure of two versions."""

    verdict: Verdict
    better: str = ""
    """In what the first is better beyond the noise; empty: it is not."""


def against_champion(policy: RegistryPolicy, ours: Standing, theirs: Standing, champion: str) -> list[Verdict]:
    """Whether one version may take the alias from another: a verdict a figure, and whether it is better in any.

    Args:
        policy: what it may lose.
        ours: of the version.
        theirs: of the champion.
        champion: what that is called: version 3.
    """
    gates, level = policy.champion_gates, policy.evidence.level
    found = [judged for judge in _JUDGES if (judged := judge(gates, ours, theirs, level, champion)) is not None]
    better = [compared.better for compared in found if compared.better]
    said = ", ".join(better) or "nothing beyond the noise"
    return [
        *(c.verdict for c in found),
        Verdict("better_than_champion", bool(better), f"better than {champion}: {said}"),
    ]


def _accuracy(gates: ChampionGates, ours: Standing, theirs: Standing, level: float, champion: str) -> _Compared | None:
    gate, name = gates.accuracy_drop, "champion_accuracy"
    if gate is None:
        return None
    if ours.test != theirs.test:
        text = f"{champion} was measured on other test images: measure it on these, or decide with `seam promote`"
        return _Compared(Verdict(name, False, text))
    found = shares_interval(ours.right, theirs.right, level)
    near, told = found.difference >= -gate.at_most - ROUNDING, found.low >= -gate.within - ROUNDING
    text = (
        f"accuracy {ours.right.rate:.2%} against {theirs.right.rate:.2%} of {champion} on {ours.right.total} test"
        f" images, the difference is in {shown_points((found.low, found.high))} points at {level:.0%}; a drop of"
        f" {100 * gate.at_most:g} is allowed, one of {100 * gate.within:g} to be excluded"
    )
    better = found.low > 0 and found.difference > gate.at_most
    return _Compared(Verdict(name, near and told, text, (found.low, found.high)), "accuracy" if better else "")


def _inheritance(
    gates: ChampionGates, ours: Standing, theirs: Standing, level: float, champion: str
) -> _Compared | None:
    gate, name = gates.defect_inheritance_increase, "champion_defect_inheritance"
    if gate is None or (ours.lost is None and theirs.lost is None):
        return None
    if ours.lost is None or theirs.lost is None or not ours.lost.total or not theirs.lost.total:
        return _Compared(Verdict(name, False, f"inherited defects are not known of both, this and {champion}"))
    if (ours.test, ours.attack) != (theirs.test, theirs.attack):
        text = f"the defects of {champion} were measured by another attack, or on other images; `seam promote` decides"
        return _Compared(Verdict(name, False, text))
    found = shares_interval(ours.lost, theirs.lost, level)
    near, told = found.difference <= gate.at_most + ROUNDING, found.high <= gate.within + ROUNDING
    text = (
        f"defect inheritance rate {ours.lost.rate:.1%} against {theirs.lost.rate:.1%} of {champion}, the difference is"
        f" in {shown_points((found.low, found.high))} points at {level:.0%}; a rise of {100 * gate.at_most:g} is"
        f" allowed, one of {100 * gate.within:g} to be excluded"
    )
    better = found.high < 0 and -found.difference > gate.at_most
    return _Compared(Verdict(name, near and told, text, (found.low, found.high)), "inherited defects" if better else "")


def _weights(gates: ChampionGates, ours: Standing, theirs: Standing, _level: float, champion: str) -> _Compared | None:
    gate = gates.weights
    if gate is None or not ours.weights or not theirs.weights:
        return None
    text = (
        f"{ours.weights:,} non-zero weights against {theirs.weights:,} of {champion}; at most {gate.at_most:g} times as"
        " many are allowed"
    )
    better = "weights" if ours.weights * gate.at_most < theirs.weights else ""
    return _Compared(Verdict("champion_weights", ours.weights <= gate.at_most * theirs.weights, text), better)


def _milliseconds(
    gates: ChampionGates, ours: Standing, theirs: Standing, _level: float, champion: str
) -> _Compared | None:
    gate = gates.milliseconds
    if gate is None or not ours.milliseconds or not theirs.milliseconds or ours.timed != theirs.timed:
        return None
    text = (
        f"{ours.milliseconds:.3g} ms against {theirs.milliseconds:.3g} ms of {champion} ({ours.timed}); at most"
        f" {gate.at_most:g} times as long is allowed"
    )
    return _Compared(
        Verdict("champion_milliseconds", ours.milliseconds <= gate.at_most * theirs.milliseconds + ROUNDING, text)
    )


_Judge = Callable[[ChampionGates, Standing, Standing, float, str], _Compared | None]
_JUDGES: tuple[_Judge, ...] = (_accuracy, _inheritance, _weights, _milliseconds)
