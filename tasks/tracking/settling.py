"""Who is champion once a version has been judged: the rules of champion and challenger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.tracking.aliases import Model
from tasks.tracking.contest import Standing, against_champion
from tasks.tracking.gates import Verdict
from tasks.tracking.policy import RegistryPolicy


@dataclass(frozen=True)
class Settled:
    """What became of a version."""

    aliases: list[str] = field(default_factory=list)
    """Of the version."""
    promoted: bool = False
    """Whether it is the champion."""
    champion: int | None = None
    """Which version is."""
    against_champion: list[dict[str, Any]] = field(default_factory=list)
    """Verdicts against the champion that there was; empty: there was none, this was it, or its own gates stopped it."""
    why: str = ""
    """Why it is, or is not, the champion."""
    doubt: str | None = None
    """Where it is and misses a gate: which."""


def settle(
    model: Model,
    version: int,
    verdicts: Sequence[Verdict],
    standing: Standing,
    policy: RegistryPolicy,
    keep: Callable[[], None] = lambda: None,
) -> Settled:
    """Note the verdicts on the version, and move the aliases as they ask for; within a turn.

    The champion stays where it is unless this version meets its gates and
    - there is no champion: the first that meets them is it;
    - or the champion misses its own: what meets them is better;
    - or it loses nothing against the champion that the policy does not allow, and is better in one
      figure beyond the noise.
    A champion that was put there by hand gives way to later versions alone. One that misses its gates
    when it is judged again stays, with a doubt.
    """
    missed = [verdict.gate for verdict in verdicts if not verdict.passed]
    doubt = f"gates not met: {', '.join(missed)}" if missed else ""
    model.note_verdicts(version, [verdict.as_dict() for verdict in verdicts], doubt)
    if model.champion == version:
        model.confirm(version)
        stays = (
            f"version {version} is @{model.aliases.champion} and no longer meets {', '.join(missed)}: it stays until"
        )
        stays += f" a better one comes, or `seam rollback {model.name}`"
        return _settled(model, version, [], "it is the champion", stays if missed else None)
    takes, why, others = _takes(model, version, doubt, standing, policy)
    keep()
    if takes:
        model.give(version, why)
    else:
        model.challenge(version)
    return _settled(model, version, others, why)


def _takes(
    model: Model, version: int, doubt: str, standing: Standing, policy: RegistryPolicy
) -> tuple[bool, str, list[Verdict]]:
    """Whether this version becomes the champion, why, and the verdicts against the one that there is."""
    champion = model.champion
    if doubt:
        return False, doubt, []
    if champion is None or champion not in model.versions:
        return True, "the first that meets the gates", []
    called = f"version {champion}"
    if model.held_against(version):
        why = f"{called} was made champion by hand, later versions alone take its place: seam promote {model.name}"
        return False, f"{why} {version}", []
    if model.doubt(champion):
        return True, f"{called} misses its gates ({model.doubt(champion)}), this meets them", []
    theirs = Standing.from_tags(model.tags(champion))
    if theirs is None:
        text = f"an older seam registered {called} without its figures: register it again, or `seam promote` decides"
        return False, text, [Verdict("better_than_champion", False, text)]
    verdicts = against_champion(policy, standing, theirs, called)
    unmet = [verdict.gate for verdict in verdicts if not verdict.passed]
    why = f"{verdicts[-1].text}" if not unmet else f"{called} stays: {', '.join(unmet)} not met"
    return not unmet, why, verdicts


def _settled(
    model: Model, version: int, others: Sequence[Verdict], why: str, doubt: str | None = None
) -> Settled:  # fmt: skip
    return Settled(
        aliases=sorted(alias for alias, holder in model.holders.items() if holder == version),
        promoted=model.champion == version,
        champion=model.champion,
        against_champion=[verdict.as_dict() for verdict in others],
        why=why,
        doubt=doubt,
    )
