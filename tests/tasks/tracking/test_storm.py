"""Many processes register at once, on SQLite and behind a server; some are killed. And tests/flows/test_servers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.drill.storm import NAME, Storm


@pytest.fixture
def sqlite(tmp_path: Path, empty_mlflow_store: Path) -> str:
    shutil.copyfile(empty_mlflow_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def versions(uri: str) -> int:
    return len(MlflowClient(tracking_uri=uri, registry_uri=uri).search_model_versions(f"name = '{NAME}'"))


def test_eight_that_register_the_same_result_make_one_version(sqlite: str, tmp_path: Path) -> None:
    storm = Storm(tmp_path, sqlite, processes=8, registrations=1, results=1)
    assert storm.rage(share_killed=0) == []
    assert versions(sqlite) == 1 and len(storm.ended.when) == 8


def test_eight_results_make_eight_versions_and_the_best_is_champion(sqlite: str, tmp_path: Path) -> None:
    storm = Storm(tmp_path, sqlite, processes=8, registrations=1, results=8)
    assert storm.rage(share_killed=0) == []
    assert versions(sqlite) == 8


def test_a_short_storm_behind_a_server(mlflow_server: str, tmp_path: Path) -> None:
    storm = Storm(tmp_path, mlflow_server, processes=4, registrations=3, results=6)
    assert storm.rage(share_killed=0.5, most_kills=3) == []
    assert versions(mlflow_server) == 6
