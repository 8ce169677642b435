"""`seam rebuild`: a version made again from the repository and the DVC remote alone, and compared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.commands.verify import trusted
from seam.errors import ProvenanceError

if TYPE_CHECKING:
    from tasks.provenance.rebuild import Rebuilt


def rebuild_version(root: Path, model: str, version: str, unsigned: bool) -> int:
    """Make a version again in a fresh clone, say what is the same and what differs; returns the exit status.

    Args:
        root: the project.
        model: name of the registered model.
        version: its number, or an alias.
        unsigned: whether to believe a version that no key of the project has signed.

    Raises:
        ConfigError: no such version, or it is of another kind.
        ProvenanceError: it is not signed, or cannot be made again.
        TrackingError: the registry cannot be used.
    """
    from tasks.provenance.bom import BOM, FOLDER, read_bom
    from tasks.provenance.fetch import fetch
    from tasks.provenance.rebuild import rebuild
    from tasks.provenance.verify import check_bom, verify

    address = f"models:/{model}/{version}" if version.isdigit() else f"models:/{model}@{version}"
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        found = fetch(root, address, place / "model")
        if not (found.folder / FOLDER / BOM).is_file():
            raise ProvenanceError(f"{address}: it has no bill of materials; it was registered before there were any.")
        if unsigned:
            check_bom(found.folder, found.expected)
        else:
            last = verify(found.folder, trusted(root), None, found.expected)[-1]
            if not last.passed:
                why = "its parameters may name code to run, --unsigned believes them"
                raise ProvenanceError(f"{address}: {last.name}: {last.text}; {why}.")
        bill = read_bom(found.folder / FOLDER / BOM)
        typer.echo(f"{found.name}, version {found.version}, commit {bill.code.get('git_commit', 'not known')}")
        made = rebuild(root, found.folder, bill, place / "clone", lambda what: typer.echo(f"  {what}"))
    _show(made)
    return 0 if made.is_same else 1


def _show(made: Rebuilt) -> None:
    """What is the same, and what differs."""
    then, now = made.mask_sha256
    typer.echo(f"source: {'the same' if made.same_source else 'another'}")
    typer.echo(f"mask: {f'the same, {now}' if made.same_mask else f'{then} then, {now} now'}")
    outputs = "the same file, byte by byte" if made.same_file else f"deviate by {made.deviation:.3g} at most"
    typer.echo(f"outputs: {outputs}; {made.other_labels} of {made.images} test images get another class")
    for words in made.inputs:
        typer.echo(f"differs: {words}")
    if not made.inputs:
        typer.echo("no input differs: packages, code, data, parameters, machine")
    typer.echo("rebuilt: the same" if made.is_same else "rebuilt: NOT the same")
