"""seam keys: one pair, the private key its owner's alone and never where git takes it along."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from seam.errors import ConfigError, ProvenanceError
from tasks.provenance.keys import FOLDER, fingerprint, make_keys, private_key, public_keys
from tasks.provenance.signing import SIGNATURE, Trust, check_signature, sign


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "keys"))
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/network").write_text("weights")
    return tmp_path / "model"


def test_made_once_for_its_owner_alone(root: Path) -> None:
    pair = make_keys(root)
    assert pair.is_new
    assert pair.private == root.parent / "keys/signing.key"
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.private.parent.stat().st_mode) == 0o700
    assert b"PRIVATE" not in pair.public.read_bytes()
    again = make_keys(root)
    assert not again.is_new
    assert again.fingerprint == pair.fingerprint == fingerprint(root / "mlflow/signing.pub")


def test_without_a_key_nothing_is_signed(root: Path, model: Path) -> None:
    assert not sign(model)
    assert not (model / SIGNATURE).exists()


def test_a_key_that_others_may_read_is_refused(root: Path, model: Path) -> None:
    make_keys(root).private.chmod(0o640)
    for use in (private_key, lambda: sign(model), lambda: make_keys(root)):
        with pytest.raises(ProvenanceError, match="chmod 600"):
            use()


def test_what_an_earlier_key_signed_stays_trusted_until_that_is_removed(root: Path, model: Path) -> None:
    first = make_keys(root)
    assert sign(model)
    second = make_keys(root, replace=True)
    assert second.fingerprint != first.fingerprint
    assert {fingerprint(p) for p in public_keys(root)} == {first.fingerprint, second.fingerprint}
    assert first.fingerprint[:12] in check_signature(model, Trust(public_keys(root)))
    with pytest.raises(ProvenanceError, match="key that is trusted"):
        check_signature(model, Trust([second.public]))


def test_in_the_project_only_where_git_ignores_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.setenv(FOLDER, str(root / "keys"))
    with pytest.raises(ConfigError, match="outside the project"):
        make_keys(root)
    assert not (root / "keys").exists()
    (root / ".gitignore").write_text("/keys/\n")
    assert make_keys(root).private == root / "keys/signing.key"


def test_another_machines_public_key_is_not_overwritten(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = make_keys(root).public.read_bytes()
    monkeypatch.setenv(FOLDER, str(root.parent / "another machine"))
    with pytest.raises(ProvenanceError, match="got another"):
        make_keys(root)
    assert (root / "mlflow/signing.pub").read_bytes() == public


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_one_line(root: Path, model: Path, content: bytes) -> None:
    private = make_keys(root).private
    private.write_bytes(content)
    for use in (lambda: sign(model), lambda: make_keys(root)):
        with pytest.raises(ProvenanceError) as caught:
            use()
        assert "\n" not in str(caught.value)
