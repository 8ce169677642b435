"""The signature of a model version: OpenSSF Model Signing over every file of its folder, by a key or by Sigstore."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seam.errors import ProvenanceError
from tasks.provenance.folder import read_limited
from tasks.provenance.keys import fingerprint, private_key

if TYPE_CHECKING:
    from model_signing.verifying import Config as Verifying

SIGNATURE = "model.sig"
NOT_SIGNED = (SIGNATURE, "registered_model_meta")
"""The signature itself, and what MLflow writes beside a version that it downloads: name and number."""
SIGSTORE = "SEAM_SIGN"
"""Variable of the environment: `sigstore` signs with the identity that this machine has (of a CI job), not a key."""
_MOST = 4 * 2**20
_FOUND = {
    r"Hash mismatch for '([^']*)'": "{} was changed",
    r"Extra files found in model '[^']*': ([^\"\]]*)": "{} was added",
    r"Missing files in model '[^']*': ([^\"\]]*)": "{} is missing",
}
"""What model-signing finds, in its words and in ours."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures are believed."""

    keys: Sequence[Path] = ()
    """Public keys."""
    identity: str | None = None
    """Of Sigstore, such as an e-mail address or a workflow; None: a key signs."""
    issuer: str | None = None
    """Who says so."""


def sign(folder: Path) -> bool:
    """Write `model.sig` over all that is in the folder; False: there is nothing to sign with.

    Raises:
        ProvenanceError: the key cannot be used, or Sigstore does not sign.
    """
    key, by_sigstore = private_key(), os.environ.get(SIGSTORE) == "sigstore"
    if key is None and not by_sigstore:
        return False
    from model_signing import hashing
    from model_signing.signing import Config

    hashed = hashing.Config().set_ignored_paths(paths=NOT_SIGNED, ignore_git_paths=False)
    config = Config().set_hashing_config(hashed)
    try:
        if key is None or by_sigstore:
            config.use_sigstore_signer(use_ambient_credentials=True)
        else:
            config.use_elliptic_key_signer(private_key=key)
        config.sign(folder, folder / SIGNATURE)
    except Exception as e:  # of many libraries, no class in common
        by = "Sigstore" if by_sigstore else key
        raise ProvenanceError(f"{by}: expected a signature, got {_words(e)}.") from e
    return True


def check_signature(folder: Path, trust: Trust) -> str:
    """Who has signed every file of the folder as it is now, in words.

    Raises:
        ProvenanceError: not signed, by nobody who is trusted, or a file is not what was signed; it is named.
    """
    content = read_limited(folder / SIGNATURE, _MOST)
    try:
        said = json.loads(content)["verificationMaterial"].get("publicKey", {}).get("hint")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ProvenanceError(f"{SIGNATURE}: expected a signature, got {_words(e)}.") from e
    config, words = _verifying(trust, said)
    try:
        config.verify(folder, folder / SIGNATURE)
    except Exception as e:  # of many libraries, which read what anybody may have written
        raise ProvenanceError(_found(e)) from e
    _check_plain(content)
    return words


def _verifying(trust: Trust, said: Any) -> tuple[Verifying, str]:
    """For the key that a signature says it is of, or for Sigstore; and whose that is, in words."""
    from model_signing.verifying import Config

    if trust.identity is not None:
        issuer = trust.issuer or ""
        return (
            Config().use_sigstore_verifier(identity=trust.identity, oidc_issuer=issuer),
            f"{trust.identity} ({issuer}), by Sigstore",
        )
    known = {fingerprint(path): path for path in trust.keys}
    if said not in known:
        raise ProvenanceError(
            f"{SIGNATURE}: expected a signature of a key that is trusted"
            f" ({', '.join(str(p) for p in known.values()) or 'there is none'}), got one of"
            f" {str(said)[:12] if isinstance(said, str) else 'no key'}."
        )
    try:
        config = Config().use_elliptic_key_verifier(public_key=known[said])
    except Exception as e:  # of cryptography, no class in common
        raise ProvenanceError(f"{known[said]}: expected a public key, got {_words(e)}.") from e
    return config, f"{known[said].name} ({said[:12]})"


def _check_plain(content: bytes) -> None:
    """Nothing stands in the file but what was checked, written as model-signing writes it."""
    from sigstore_models.bundle.v1 import Bundle

    if Bundle.from_json(content).to_json().encode() != content:
        raise ProvenanceError(f"{SIGNATURE} was changed: something was added to it, or is written otherwise.")


def _found(error: Exception) -> str:
    """What is wrong, with the names of the files."""
    text = str(error)
    found = [words.format(name) for pattern, words in _FOUND.items() for name in re.findall(pattern, text)]
    if found:
        return "; ".join(found)
    return f"{SIGNATURE} was changed, or is of another key: {_words(error)}"


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:160]
