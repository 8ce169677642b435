"""Which version of a registered model carries which alias: judged, put there by hand, and why, as tags that stay.

Tags of a version: `seam.gates` (its verdicts when last judged), `seam.doubt` (which of them it misses;
none: it meets all), `seam.trace` (when, by whom and why it came to the alias, or lost it), and
`seam.held` (it was put there by hand over all versions up to this number).
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from seam.errors import ConfigError

GATES, DOUBT, TRACE, HELD = "seam.gates", "seam.doubt", "seam.trace", "seam.held"
_CAME, _BACK, _LEFT = "champion", "champion again", "gave way"
_KEPT = 50
"""Lines of a version's trace."""


@dataclass(frozen=True)
class Aliases:
    """What they are called, by the registry policy."""

    champion: str
    challenger: str


@dataclass(frozen=True)
class Line:
    """One line of a trace."""

    number: int
    """Of the model's moves, from 1."""
    when: str
    """UTC."""
    who: str
    did: str
    why: str


class Model:
    """A registered model's versions as they are now; to be looked at and changed within one `turn`."""

    def __init__(self, client: MlflowClient, name: str, aliases: Aliases) -> None:
        """Read it.

        Raises:
            MlflowException: there is none, or the store cannot be used.
        """
        self.client, self.name, self.aliases = client, name, aliases
        self.holders = {a: int(v) for a, v in client.get_registered_model(name).aliases.items()}
        found = client.search_model_versions(f"name = '{name}'")
        self.versions: dict[int, ModelVersion] = {
            int(v.version): v for v in sorted(found, key=lambda v: int(v.version))
        }

    @property
    def champion(self) -> int | None:
        """Number of the version that has the alias."""
        return self.holders.get(self.aliases.champion)

    def tags(self, version: int) -> dict[str, str]:
        """Of a version."""
        return dict(self.versions[version].tags)

    def doubt(self, version: int) -> str:
        """Which gates it missed when it was last judged; empty: none."""
        return str(self.versions[version].tags.get(DOUBT, ""))

    def trace(self, version: int) -> list[Line]:
        """What became of it, oldest first."""
        return trace_of(self.versions[version].tags)

    def give(self, version: int, why: str, *, back: bool = False, held: int | None = None) -> None:
        """Move the alias champion here, in one step, and note it on this version and the one that had it.

        Args:
            version: that takes it.
            why: in words.
            back: whether it had the alias before, and the later ones are undone.
            held: number of the version up to which none takes the alias from it.
        """
        before = self.champion
        if before is not None and before in self.versions and not self.trace(before):
            self._note(before, _CAME, "it had the alias before moves were noted")
        self.client.set_registered_model_alias(self.name, self.aliases.champion, str(version))
        self.holders[self.aliases.champion] = version
        if self.holders.get(self.aliases.challenger) == version:
            self._drop_challenger()
        self._held(version, held)
        self._note(version, _BACK if back else _CAME, why)
        if before is not None and before != version and before in self.versions:
            self._held(before, None)
            self._note(before, f"{_LEFT} to {version}", why)

    def confirm(self, version: int) -> None:
        """Note the move of a process that died between the move and the note."""
        if not self.was_champion(version):
            self._note(version, _CAME, "found with the alias, not noted by whoever gave it")

    def challenge(self, version: int) -> None:
        """Give it the alias of the challenger, unless a newer one has it."""
        if self.holders.get(self.aliases.challenger, 0) < version:
            self.client.set_registered_model_alias(self.name, self.aliases.challenger, str(version))
            self.holders[self.aliases.challenger] = version

    def note_verdicts(self, version: int, gates: Sequence[Mapping[str, Any]], doubt: str) -> None:
        """What its gates said."""
        said = [{key: gate[key] for key in ("gate", "passed", "interval")} for gate in gates]
        self._set(version, GATES, json.dumps(said))
        self._set(version, DOUBT, doubt)

    def held_against(self, version: int) -> bool:
        """Whether the champion was put there by hand over this version."""
        champion = self.champion
        held = "" if champion is None or champion not in self.versions else self.tags(champion).get(HELD, "")
        return held.isdigit() and version <= int(held)

    def before(self) -> int | None:
        """The version that had the alias before the present champion, as far as moves were not undone."""
        lines = sorted(
            (line.number, version, line.did)
            for version in self.versions
            for line in self.trace(version)
            if line.did in (_CAME, _BACK)
        )
        path: list[int] = []
        for _, version, did in lines:
            if did == _BACK and version in path:
                path = path[: path.index(version)]
            path.append(version)
        champion = self.champion
        while path and path[-1] == champion:
            path.pop()
        return path[-1] if path else None

    def was_champion(self, version: int) -> bool:
        """Whether it has ever had the alias."""
        return any(line.did in (_CAME, _BACK) for line in self.trace(version))

    def _drop_challenger(self) -> None:
        self.client.delete_registered_model_alias(self.name, self.aliases.challenger)
        del self.holders[self.aliases.challenger]

    def _held(self, version: int, held: int | None) -> None:
        self._set(version, HELD, "" if held is None else str(held))

    def _note(self, version: int, did: str, why: str) -> None:
        number = 1 + max((line.number for v in self.versions for line in self.trace(v)), default=0)
        line = Line(number, datetime.now(UTC).isoformat(timespec="seconds"), _who(), did, why)
        lines = [*self.trace(version), line][-_KEPT:]
        self._set(version, TRACE, json.dumps([vars(known) for known in lines]))

    def _set(self, version: int, name: str, value: str) -> None:
        """Nothing where it is empty."""
        if value:
            self.client.set_model_version_tag(self.name, str(version), name, value)
            self.versions[version].tags[name] = value
        elif name in self.versions[version].tags:
            self.client.delete_model_version_tag(self.name, str(version), name)
            del self.versions[version].tags[name]


def trace_of(tags: Mapping[str, str]) -> list[Line]:
    """Of a version's tags; empty where there is none."""
    try:
        return [Line(**line) for line in json.loads(tags.get(TRACE, "[]"))]
    except (ValueError, TypeError):
        return []


def promote(model: Model, version: int, why: str, *, force: bool = False) -> None:
    """Give a version the alias by hand.

    Raises:
        ConfigError: there is no such version, or it missed a gate and is not forced.
    """
    _expect(model, version)
    doubt = model.doubt(version)
    if (doubt or GATES not in model.tags(version)) and not force:
        said = doubt or "an older seam registered it, and it was not judged by these gates"
        raise ConfigError(
            f"{model.name} version {version}: expected one that meets its gates, got: {said}; `--force` promotes it all"
            " the same."
        )
    model.give(version, why, held=max(model.versions))


def roll_back(model: Model, version: int | None, why: str) -> int:
    """Go back to a version that had the alias, or to the one before the present.

    Returns:
        The version.

    Raises:
        ConfigError: there is none, or this one never had the alias.
    """
    if version is None:
        version = model.before()
        if version is None:
            raise ConfigError(
                f"{model.name}: expected a version that was @{model.aliases.champion} before, got none; name one:"
                f" seam promote {model.name} VERSION."
            )
    _expect(model, version)
    if not model.was_champion(version):
        raise ConfigError(
            f"{model.name} version {version}: expected one that was @{model.aliases.champion} before, it was not; seam"
            f" promote {model.name} {version} gives it the alias."
        )
    model.give(version, why, back=True, held=max(model.versions))
    return version


def _expect(model: Model, version: int) -> None:
    if version not in model.versions:
        there = ", ".join(map(str, model.versions)) or "none"
        raise ConfigError(f"{model.name} version {version}: no such version; there are: {there}.")


def _who() -> str:
    """User and machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for it
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
