"""The registry as a person looks at it and decides: versions listed, the alias moved by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from seam.errors import ConfigError
from tasks.project.environment import tracking_uri
from tasks.tracking.aliases import GATES, Aliases, Model, promote, roll_back
from tasks.tracking.policy import POLICY, load_policy
from tasks.tracking.store import connect, sqlite_file, tracking_errors
from tasks.tracking.turns import QUEUE, turn


def versions(root: Path, name: str) -> list[dict[str, Any]]:
    """Every version, newest first.

    Returns:
        version, aliases, gates (gate -> passed; empty: an older seam judged it), doubt, digests, date
        (UTC) and trace (number, when, who, did, why) of each.

    Raises:
        ConfigError: there is no such model, or the registry policy is not valid.
        TrackingError: the registry cannot be used.
    """
    client = _client(root, name)
    with tracking_errors(tracking_uri(root)):
        model = _model(root, client, name)
    return [_row(model, number) for number in sorted(model.versions, reverse=True)]


def promote_version(root: Path, name: str, version: int, why: str, *, force: bool) -> str:
    """Give a version the alias of the champion; one line of what was done.

    Raises:
        ConfigError: there is no such version, or it misses a gate and is not forced; see `versions`.
        TrackingError: the registry cannot be used.
    """
    client, uri = _client(root, name), tracking_uri(root)
    with tracking_errors(uri), turn(client, uri, plain(name)) as keep:
        model = _model(root, client, name)
        before = model.champion
        keep()
        promote(model, version, why, force=force)
    return _said(model, version, before)


def roll_back_version(root: Path, name: str, version: int | None, why: str) -> str:
    """Go back to a version that was champion, or to the one before the present; one line of what was done.

    Raises:
        ConfigError: there is none, or it never had the alias; see `versions`.
        TrackingError: the registry cannot be used.
    """
    client, uri = _client(root, name), tracking_uri(root)
    with tracking_errors(uri), turn(client, uri, plain(name)) as keep:
        model = _model(root, client, name)
        before = model.champion
        keep()
        went = roll_back(model, version, why)
    return _said(model, went, before)


def _said(model: Model, version: int, before: int | None) -> str:
    was = "was it before" if before == version else f"before: version {before}" if before else "none before"
    doubt = f"; it misses its gates ({model.doubt(version)})" if model.doubt(version) else ""
    return (
        f"models:/{model.name}@{model.aliases.champion} is version {version} ({was}){doubt}; versions up to"
        f" {max(model.versions)} do not take its place by themselves"
    )


def plain(name: str) -> str:
    """A model's name, of NAME, models:/NAME or models:/NAME@alias."""
    return name.removeprefix("models:/").partition("@")[0].partition("/")[0]


def _client(root: Path, name: str) -> MlflowClient:
    """A store that is not there yet is not made to look into it."""
    database = sqlite_file(tracking_uri(root))
    if database is not None and not database.is_file():
        raise _unknown(plain(name), ())
    return connect(root)


def _unknown(name: str, known: Sequence[str]) -> ConfigError:
    listed = f"it has {', '.join(sorted(known))}" if known else "nothing is registered yet"
    return ConfigError(f"{name}: expected a registered model, the registry has no such one; {listed}.")


def _model(root: Path, client: MlflowClient, name: str) -> Model:
    name = plain(name)
    policy = load_policy(root / POLICY)
    known = [model.name for model in client.search_registered_models() if model.name != QUEUE]
    if name not in known:
        raise _unknown(name, known)
    return Model(client, name, Aliases(policy.alias, policy.challenger_alias))


def _row(model: Model, number: int) -> dict[str, Any]:
    tags, made = model.tags(number), model.versions[number].creation_timestamp
    return {
        "version": number,
        "aliases": sorted(alias for alias, holder in model.holders.items() if holder == number),
        "gates": {gate["gate"]: gate["passed"] for gate in json.loads(tags.get(GATES, "[]"))},
        "doubt": model.doubt(number),
        "digests": {tag.removeprefix("seam."): said for tag, said in sorted(tags.items()) if "sha256" in tag},
        "date": datetime.fromtimestamp(made / 1000, UTC).isoformat(timespec="seconds"),
        "trace": [vars(line) for line in model.trace(number)],
    }
