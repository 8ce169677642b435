"""A Prefect server for the session, and a project whose stages do nothing but write their outputs, empty or done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  telemetry off before Prefect is imported

# isort: split
from prefect.testing.utilities import prefect_test_harness

from flows.pipeline import run_pipeline
from flows.stage_cache import shared_cache
from tests.flows.ran import ran
from tests.stub_stages import sitecustomize


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def stubs() -> Iterator[None]:
    sitecustomize.install()
    yield
    sitecustomize.remove()


@pytest.fixture
def place(tmp_path: Path, stubs: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a project may be made."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield tmp_path / "project"
    shared_cache.cache_clear()


@pytest.fixture
def project(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which nothing ran."""
    root = sitecustomize.make_project(place)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def finished(server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which everything ran, by the flow; tests work on a copy, `done`."""
    folder = tmp_path_factory.mktemp("finished")
    sitecustomize.install()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            root = sitecustomize.make_project(folder / "project")
            patch.chdir(root)
            assert run_pipeline(return_state=True).is_completed()
            ran(root)
    finally:
        shared_cache.cache_clear()
        sitecustomize.remove()
    return root


@pytest.fixture
def done(finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which everything ran."""
    shutil.copytree(finished, place, symlinks=True)
    monkeypatch.chdir(place)
    return place
