"""Shared by the tests: a quiet process, slow files first, stores and projects to work on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import tasks  # noqa: F401, I001  first: switches telemetry off

import numpy as np
import pytest

from seam.files import read_json, write_json
from tasks.project.alone import FOLDER
from tasks.project.stage import StageContext
from tasks.provenance import keys
from tests.registry_project import make_registry_project


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start, even where a shell began them in the background, deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that parallel workers end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name != "test_pipeline.py"))


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither waits for runs on this machine that are no tests, nor has them wait."""
    os.environ[FOLDER] = str(tmp_path_factory.mktemp("locks"))


@pytest.fixture(scope="session", autouse=True)
def _no_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is signed with the keys of whoever runs the tests."""
    os.environ[keys.FOLDER] = str(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def empty_mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with its tables and nothing in it; making one takes seconds, a copy none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def registry_project(tmp_path: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    """A context for register_model of the problem `zero` (zero against the rest), local store, made-up results."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return make_registry_project(tmp_path / "project", empty_mlflow_store)


@pytest.fixture
def other_registry_project(tmp_path: Path, empty_mlflow_store: Path) -> Callable[..., StageContext]:
    """Makes another such project: other_registry_project(name)."""
    return lambda name: make_registry_project(tmp_path / name, empty_mlflow_store)


@pytest.fixture
def brightness_npz(tmp_path: Path) -> Path:
    """Three classes of noise, each of another brightness: dark, grey, light.

    48 images to train on, 12 to test, 16 x 16 pixels.
    """
    rng = np.random.default_rng(0)
    labels = {"train": np.arange(48) % 3, "test": np.arange(12) % 3}
    images = {
        k: (rng.integers(0, 80, (len(y), 16, 16, 3)) + 80 * y[:, None, None, None]).astype(np.uint8)
        for k, y in labels.items()
    }
    arrays = {f"x_{k}": v for k, v in images.items()} | {f"y_{k}": v for k, v in labels.items()}
    np.savez(tmp_path / "three.npz", **arrays, classes=np.array(["dark", "grey", "light"]))
    return tmp_path / "three.npz"


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], None]], None]:
    """Changes a JSON file with a function of its content."""

    def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        content = read_json(path)
        change(content)
        write_json(path, content)

    return edit
