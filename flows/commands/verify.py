"""`seam verify` and `seam keys`: whether a model version is what it is said to be, and what it is signed with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.project import state_folder
from seam.errors import ConfigError, ProvenanceError
from tasks.project.stages import KINDS
from tasks.provenance.keys import PUBLIC, make_keys, public_keys
from tasks.provenance.signing import Trust

if TYPE_CHECKING:
    from tasks.provenance.verify import Check


def show_keys(root: Path, replace: bool) -> None:
    """Make the pair of keys where there is none, or a new one, and say where it is.

    Raises:
        ConfigError, ProvenanceError: it cannot be made there.
    """
    pair = make_keys(root, replace)
    typer.echo(f"{'made' if pair.is_new else 'there is'} the private key {pair.private}; keep it to yourself")
    typer.echo(f"its public key is {PUBLIC} (sha256 {pair.fingerprint[:12]}); commit it")
    typer.echo("what is registered from now on is signed with it; `seam verify models:/NAME@champion` checks that")


def verify_model(
    root: Path,
    model: Path | str,
    keys: Sequence[Path],
    source: Path | None,
    with_source: bool,
    sigstore: tuple[str | None, str | None] = (None, None),
) -> None:
    """Check a version and say what was found.

    Args:
        root: the project.
        model: a folder, or an address in the registry.
        keys: public keys that are trusted; none: those of the project.
        source: folder of the source; None: that of the project which its bill of materials names.
        with_source: whether mask and weights are held against it.
        sigstore: identity and issuer, where Sigstore signed.

    Raises:
        ConfigError: no such version.
        ProvenanceError: it is not what it is said to be.
        TrackingError: the registry cannot be used.
    """
    from tasks.provenance.fetch import fetch
    from tasks.provenance.verify import Expected, verify

    trust = trusted(root, keys, sigstore)
    with tempfile.TemporaryDirectory() as temporary:
        folder, expected = Path(model), Expected()
        if isinstance(model, str):
            found = fetch(root, model, Path(temporary) / "model")
            folder, expected = found.folder, found.expected
            typer.echo(f"{found.name}, version {found.version}")
        place = source or _source_folder(root)
        checks = verify(folder, trust, place if with_source else None, expected)
    _show(checks, with_source)
    if not checks[-1].passed:
        raise ProvenanceError(f"{model}: {checks[-1].name}: {checks[-1].text}.")


def _show(checks: Sequence[Check], with_source: bool) -> None:
    for check in checks:
        typer.echo(f"{'ok' if check.passed else 'NOT OK':6}  {check.name}: {check.text}")
    if checks[-1].passed and len(checks) == 2:
        why = "a version of this kind has none" if with_source else "--without-source"
        typer.echo(f"        mask and weights were not held against a source: {why}")


def verified_copy(root: Path, address: str) -> Path:
    """A folder of ours with a version's files, signed by a key of the project; what was checked is what is there.

    Raises:
        ProvenanceError: it is not what was signed.
    """
    from tasks.provenance.fetch import fetch
    from tasks.provenance.verify import verify

    folder = state_folder(root) / "served" / address.removeprefix("models:/").replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    found = fetch(root, address, folder)
    checks = verify(folder, trusted(root), None, found.expected)
    if not checks[-1].passed:
        shutil.rmtree(folder)
        raise ProvenanceError(f"{address}: not served: {checks[-1].name}: {checks[-1].text}.")
    return folder


def trusted(root: Path, keys: Sequence[Path] = (), sigstore: tuple[str | None, str | None] = (None, None)) -> Trust:
    """Whose signatures are believed: keys that were given, or those of the project, or an identity of Sigstore.

    Raises:
        ConfigError: half of an identity, or a key that is not there.
    """
    identity, issuer = sigstore
    if (identity is None) != (issuer is None):
        raise ConfigError("expected --identity and --issuer together, got one of them.")
    if missing := [key for key in keys if not key.is_file()]:
        raise ConfigError(f"{missing[0]}: expected the file of a public key, got none.")
    return Trust(keys or public_keys(root), identity, issuer)


def _source_folder(root: Path) -> Path:
    """Of the project's problems."""
    return root / "artifacts" / KINDS["problem"].source
