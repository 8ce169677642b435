"""Beside a model version's files: what they come from, and a signature over all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from seam.files import sha256_file, write_text
from tasks.provenance.bom import BOM, FOLDER, Described, write_bom
from tasks.provenance.folder import files_in
from tasks.provenance.origin import Origin
from tasks.provenance.signing import sign

logger = logging.getLogger(__name__)

BYTECODE = "__pycache__"
"""Python keeps what it compiles in a folder of this name, beside the code, and runs that next time: a file of this
name leaves no room for it, so that nothing runs that is not signed."""


def attest(path: Path, described: Described, origin: Origin, pieces: Callable[[Path], None] | None = None) -> None:
    """Add to the folder of a saved model its bill of materials, and a signature if there is a key.

    Args:
        path: of the folder.
        described: the version.
        origin: where it comes from.
        pieces: writes into a folder what the network can be put together from again.

    Raises:
        ProvenanceError: the key cannot be used.
    """
    write_text(path / BYTECODE, "In place of compiled code, which nothing would vouch for.\n")
    folder = path / FOLDER
    folder.mkdir()
    if pieces is not None:
        pieces(folder)
    hashes = {name: sha256_file(file) for name, file in files_in(path).items()}
    write_bom(described, origin, hashes, folder / BOM)
    if not sign(path):
        logger.info("%s: not signed, there is no key; `seam keys` makes one", described.name)
