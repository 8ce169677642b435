"""A project whose transfers to one target have already run, of a tiny network and tiny images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seam.networks.build import build
from tasks.attack_target import attack_target
from tasks.compare_transfers import compare_transfers
from tasks.fetch_source import fetch_source
from tasks.transfer import transfer
from tasks.validate_target import validate_target
from tests.defaults import POLICY
from tests.tasks.transfer_project import NETWORK, VALUES, context_of, make_images


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every stage of the target `flowers` done but register_transfer; tests copy it."""
    root = tmp_path_factory.mktemp("transfer") / "project"
    make_images(root / "flowers")
    (root / "tiny.py").write_text(NETWORK)
    (root / "params.yaml").write_text(json.dumps(VALUES))
    (root / "mlflow").mkdir()
    (root / "mlflow" / "registry.yaml").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.manual_seed(0)
        save_file(build("tiny.py:tiny", 7).state_dict(), root / "tiny.safetensors")
        for stage in (validate_target, fetch_source, attack_target):
            stage(context_of(root, stage.__name__))
        for name in context_of(root, "transfer").params.transfer.students:
            transfer(context_of(root, "transfer", name))
        compare_transfers(context_of(root, "compare_transfers"))
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, and the working directory in it."""
    root = tmp_path / "project"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root
