"""A registered version that is signed, made once; tests copy it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.provenance.fetch import fetch
from tasks.provenance.keys import FOLDER, make_keys, public_keys
from tasks.provenance.signing import Trust
from tasks.provenance.verify import Expected
from tasks.register_model import register_model
from tests.registry_project import make_registry_project


@dataclass(frozen=True)
class Signed:
    """A version, its project, and the keys it was signed with."""

    root: Path
    folder: Path
    keys: Path
    expected: Expected

    @property
    def trust(self) -> Trust:
        return Trust(public_keys(self.root))

    @property
    def source(self) -> Path:
        return self.root / "artifacts/prepare_source"


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_store: Path) -> Signed:
    """`seam-zero`, version 1, champion. Not to be changed."""
    folder = tmp_path_factory.mktemp("signed")
    root = folder / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv(FOLDER, str(folder / "keys"))
        context = make_registry_project(root, empty_mlflow_store)
        (root / "dvc.yaml").touch()
        make_keys(root)
        register_model(context)
        found = fetch(root, "models:/seam-zero@champion", folder / "model")
    return Signed(root, found.folder, folder / "keys", found.expected)


@pytest.fixture
def signed(registered: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """A copy of its files, to change; the project and the keys are shared."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv(FOLDER, str(registered.keys))
    shutil.copytree(registered.folder, tmp_path / "model")
    return replace(registered, folder=tmp_path / "model")
