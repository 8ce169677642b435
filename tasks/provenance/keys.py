"""The pair of keys that versions are signed with: the private one outside the project, the public one in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from seam.errors import ConfigError, ProvenanceError
from seam.files import unfinished, write_bytes

FOLDER = "SEAM_KEYS"
"""Variable of the environment: the folder of the private key."""
PUBLIC = Path("mlflow") / "signing.pub"
"""In the project, to be committed: consumers get it with the code, not from the registry that it is to check."""
_PRIVATE = "signing.key"


@dataclass(frozen=True)
class Keys:
    """A pair of keys in files."""

    private: Path
    public: Path
    fingerprint: str
    """sha256 of the public key, as it stands in signatures."""
    is_new: bool


def key_folder() -> Path:
    """Where the private key is: SEAM_KEYS, or ~/.config/seam/keys."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "seam" / "keys"


def private_key() -> Path | None:
    """The private key's file; None: there is none, and nothing is signed.

    Raises:
        ProvenanceError: others than its owner may read it.
    """
    path = key_folder() / _PRIVATE
    if not path.is_file():
        return None
    if path.stat().st_mode & 0o077:
        raise ProvenanceError(f"{path}: expected a key that its owner alone can read; chmod 600 {path}.")
    return path


def public_keys(root: Path) -> list[Path]:
    """Those that the project trusts: mlflow/signing.pub, and mlflow/signing-*.pub of earlier pairs."""
    return sorted((root / PUBLIC.parent).glob(f"{PUBLIC.stem}*{PUBLIC.suffix}"))


def make_keys(root: Path, replace: bool = False) -> Keys:
    """The pair of keys, made where there is none; `replace` makes a new one, and the old public key stays trusted.

    Raises:
        ConfigError: the folder is in the project, where git would take the private key along.
        ProvenanceError: the public key in the project belongs to another pair.
    """
    folder, public = key_folder(), root / PUBLIC
    _check_outside(root, folder)
    private = folder / _PRIVATE
    is_new = replace or not private.is_file()
    if public.is_file() and not replace and (is_new or public.read_bytes() != _public_of(private)):
        raise ProvenanceError(
            f"{public}: expected the public key of {private}, got another; set {FOLDER} to the folder of its private"
            " key, or `seam keys --replace` makes a new pair and keeps this one among those trusted."
        )
    if is_new:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(private)
    private_key()
    content = _public_of(private)
    if public.is_file() and public.read_bytes() != content:
        public.replace(public.with_name(f"{PUBLIC.stem}-{fingerprint(public)[:12]}{PUBLIC.suffix}"))
    write_bytes(public, content)
    return Keys(private, public, fingerprint(public), is_new)


def fingerprint(public: Path) -> str:
    """sha256 of a public key's file, 64 hex digits."""
    return hashlib.sha256(public.read_bytes()).hexdigest()


def _write_private(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    new = unfinished(path)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(*forms))
    new.replace(path)


def _public_of(private: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
    except (ValueError, TypeError) as e:
        raise ProvenanceError(f"{private}: expected a private key without a password, got {e}.") from e
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def _check_outside(root: Path, folder: Path) -> None:
    if not folder.resolve().is_relative_to(root.resolve()):
        return
    command = ["git", "check-ignore", "-q", str(folder / _PRIVATE)]
    if subprocess.run(command, cwd=root, capture_output=True, check=False).returncode:
        raise ConfigError(
            f"{folder}: expected a folder outside the project, or one that git ignores; set {FOLDER} to another."
        )
