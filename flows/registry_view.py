"""What the model registry holds, read without importing MLflow (which takes seconds)."""

from __future__ import annotations

import json
import sqlite3
import urllib.parse
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RegisteredModel:
    """Versions of one registered model, oldest first, and its aliases (alias -> version)."""

    name: str
    versions: tuple[int, ...]
    aliases: dict[str, int]


def registered_model(uri: str, name: str) -> RegisteredModel | None:
    """The registered model called `name`.

    Without versions if there is none, None if the store cannot be read this way.
    """
    try:
        if uri.startswith("sqlite:///"):
            return _from_sqlite(_database(uri), name)
        if uri.startswith(("http://", "https://")):
            return _from_server(uri.rstrip("/"), name)
    except (sqlite3.Error, OSError, ValueError, KeyError):
        return None
    return None


def has_running_runs(uri: str, experiment: str) -> bool:
    """Whether a local store has runs that are going on, or that a killed process left so; False for any other store."""
    if not uri.startswith("sqlite:///") or not _database(uri).is_file():
        return False
    query = (
        "SELECT 1 FROM runs JOIN experiments USING (experiment_id)"
        " WHERE experiments.name = ? AND runs.status = 'RUNNING' AND runs.lifecycle_stage = 'active' LIMIT 1"
    )
    try:
        with closing(_opened(_database(uri))) as connection:
            return connection.execute(query, (experiment,)).fetchone() is not None
    except sqlite3.Error:
        return False


def _database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _opened(database: Path) -> sqlite3.Connection:
    """To be read alone."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(database.absolute()))}?mode=ro", uri=True, timeout=5)


def _from_sqlite(database: Path, name: str) -> RegisteredModel:
    if not database.is_file():
        return RegisteredModel(name, (), {})
    with closing(_opened(database)) as connection:
        query = (
            "SELECT version FROM model_versions WHERE name = ? AND current_stage != 'Deleted_Internal' ORDER BY version"
        )
        versions = connection.execute(query, (name,)).fetchall()
        aliases = connection.execute(
            "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)
        ).fetchall()
    return RegisteredModel(
        name, tuple(int(v) for (v,) in versions), {alias: int(version) for alias, version in aliases}
    )


def _from_server(uri: str, name: str) -> RegisteredModel:
    query = urllib.parse.urlencode({"filter": f"name='{name}'", "max_results": 1000})
    found = _get(f"{uri}/api/2.0/mlflow/model-versions/search?{query}").get("model_versions", [])
    aliases: dict[str, int] = {}
    if found:
        model = _get(f"{uri}/api/2.0/mlflow/registered-models/get?{urllib.parse.urlencode({'name': name})}")[
            "registered_model"
        ]
        aliases = {a["alias"]: int(a["version"]) for a in model.get("aliases", [])}
    return RegisteredModel(name, tuple(sorted(int(v["version"]) for v in found)), aliases)


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: dict[str, Any] = json.load(answer)
    return content
