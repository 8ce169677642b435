"""A Prefect server for the session, and a project whose stages do nothing but write their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  telemetry off before Prefect is imported

# isort: split
from prefect.testing.utilities import prefect_test_harness

from flows.stage_cache import shared_cache
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
def project(tmp_path: Path, stubs: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = sitecustomize.make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    yield root
    shared_cache.cache_clear()
