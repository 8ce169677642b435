"""seam verify, keys, rebuild, serve --verified: what they say, their exit status, and never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.pyfunc import load_model

from flows.commands.rebuild import rebuild_version
from flows.commands.serve import serve_champion
from flows.commands.verify import trusted, verified_copy, verify_model
from seam.errors import ConfigError, ProvenanceError
from tasks.provenance.bom import BOM, FOLDER, NETWORK
from tasks.provenance.signing import SIGNATURE
from tests.tasks.provenance.conftest import Signed

ROOT = Path(__file__).resolve().parents[3]
CHAMPION = "models:/seam-zero@champion"


def seam(signed: Signed, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SEAM_KEYS": str(signed.keys)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=signed.root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def own(signed: Signed, tmp_path: Path) -> Path:
    """A copy of the project and its store, whose version may be changed; the folder of its version."""
    stored = next((signed.root / "mlflow/artifacts").rglob("MLmodel")).parent
    kept = tmp_path / "kept"
    shutil.copytree(stored, kept)
    yield stored
    shutil.rmtree(stored)
    shutil.copytree(kept, stored)


def test_the_champion_passes_and_a_changed_copy_does_not(signed: Signed) -> None:
    done = seam(signed, "verify", CHAMPION)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "seam-zero, version 1",
        *(f"ok      {name}" for name in ("signature", "bill of materials", "mask", "weights")),
    ]
    path = signed.folder / NETWORK
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = seam(signed, "verify", str(signed.folder))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: {signed.folder}: signature: {NETWORK} was changed."]
    assert "NOT OK  signature" in done.stdout


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("models:/seam-zero/2", "not in the registry"),
        ("models:/seam-zero@nobody", "not in the registry"),
        ("models:/nothing@champion", "not in the registry"),
        ("models:/seam-zero", "expected models:/NAME@ALIAS"),
        ("models:/../../etc/passwd", "expected models:/NAME@ALIAS"),
        ("models:/seam-zero/99999999999999999999", "expected models:/NAME@ALIAS"),
    ],
)
def test_no_such_version_is_one_line(signed: Signed, model: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        verify_model(signed.root, model, [], None, True)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_one_line(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the file of a public key"):
        trusted(signed.root, [tmp_path / "no.pub"])
    with pytest.raises(ConfigError, match="--identity and --issuer together"):
        trusted(signed.root, [], ("me@example.org", None))
    (tmp_path / "no.pub").write_text("no key")
    with pytest.raises(ProvenanceError, match="a key that is trusted"):
        verify_model(signed.root, signed.folder, [tmp_path / "no.pub"], None, True)


def test_a_link_in_the_store_is_not_followed(signed: Signed, own: Path) -> None:
    (own / "conda.yaml").unlink()
    (own / "conda.yaml").symlink_to("/etc/hostname")
    with pytest.raises(ProvenanceError, match="a link, which is not followed"):
        verify_model(signed.root, CHAMPION, [], None, True)


def test_only_a_checked_copy_is_served(signed: Signed, own: Path) -> None:
    folder = verified_copy(signed.root, CHAMPION)
    assert folder.is_relative_to(signed.root / ".seam")
    said: Any = load_model(str(folder)).predict(np.zeros((1, 8, 8, 1), np.uint8))
    assert set(said["class"]) <= {"zero", "other"}
    (own / "artifacts/classes.json").write_text("{}")
    with pytest.raises(ProvenanceError, match=r"not served: signature: artifacts/classes\.json was changed"):
        serve_champion(signed.root, {"problem": "zero"}, 5001, verified=True)
    assert not folder.exists()
    (own / SIGNATURE).unlink()
    with pytest.raises(ProvenanceError, match="not served: signature: not signed"):
        serve_champion(signed.root, {"problem": "zero"}, 5001, verified=True)


def test_what_is_not_signed_is_not_made_again(signed: Signed, own: Path) -> None:
    with pytest.raises(ProvenanceError, match="no commit is known"):
        rebuild_version(signed.root, "seam-zero", "champion", unsigned=False)
    (own / SIGNATURE).unlink()
    with pytest.raises(ProvenanceError, match="--unsigned believes them"):
        rebuild_version(signed.root, "seam-zero", "1", unsigned=False)
    with pytest.raises(ProvenanceError, match="no commit is known"):
        rebuild_version(signed.root, "seam-zero", "1", unsigned=True)
    (own / FOLDER / BOM).unlink()
    with pytest.raises(ProvenanceError, match="no bill of materials"):
        rebuild_version(signed.root, "seam-zero", "1", unsigned=True)


def test_keys_says_where_they_are(signed: Signed) -> None:
    done = seam(signed, "keys")
    assert done.returncode == 0, done.stderr
    assert f"there is the private key {signed.keys / 'signing.key'}" in done.stdout
