"""What the model registry holds, read without importing MLflow (which takes seconds)."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DOUBT = "seam.doubt"
"""Tag of a version, as tasks.tracking.aliases writes it."""


@dataclass(frozen=True)
class RegisteredModel:
    """Versions of one registered model, oldest first, its aliases (alias -> version), and doubts of versions."""

    name: str
    versions: tuple[int, ...]
    aliases: dict[str, int]
    doubts: dict[int, str] = field(default_factory=dict)
    """Version -> which of its gates it missed when it was last judged."""


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
    """Whether a store has runs that are going on, or that a killed process left so; False where it cannot be read."""
    if uri.startswith(("http://", "https://")):
        return _server_has_running_runs(uri.rstrip("/"), experiment)
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


def _server_has_running_runs(uri: str, experiment: str) -> bool:
    named = urllib.parse.urlencode({"experiment_name": experiment})
    try:
        found = _get(f"{uri}/api/2.0/mlflow/experiments/get-by-name?{named}")["experiment"]
        asked = {"experiment_ids": [found["experiment_id"]], "max_results": 1, "filter": "status = 'RUNNING'"}
        return bool(_get(f"{uri}/api/2.0/mlflow/runs/search", asked).get("runs"))
    except (OSError, ValueError, KeyError):
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
        doubts = connection.execute(
            "SELECT version, value FROM model_version_tags WHERE name = ? AND key = ? AND value != ''", (name, _DOUBT)
        ).fetchall()
    return RegisteredModel(
        name,
        tuple(int(v) for (v,) in versions),
        {alias: int(version) for alias, version in aliases},
        {int(version): text for version, text in doubts},
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
    doubts = {int(v["version"]): t["value"] for v in found for t in v.get("tags", []) if t["key"] == _DOUBT}
    doubts = {version: text for version, text in doubts.items() if text}
    return RegisteredModel(name, tuple(sorted(int(v["version"]) for v in found)), aliases, doubts)


def _get(url: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a server answers, to a question in JSON if there is one, asked with the name that MLflow's client has."""
    request = urllib.request.Request(url, None if content is None else json.dumps(content).encode())
    request.add_header("Content-Type", "application/json")
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    if user and password:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
