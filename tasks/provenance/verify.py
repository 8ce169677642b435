"""Whether a model version is what it is said to be: its signature, its bill of materials, its mask, its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seam.errors import ProvenanceError, SeamError
from seam.files import sha256_file
from tasks.provenance.bom import BOM, FOLDER, ReadBom, read_bom
from tasks.provenance.folder import files_in
from tasks.provenance.origin import params_sha256
from tasks.provenance.signing import NOT_SIGNED, SIGNATURE, Trust, check_signature


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    text: str
    """What was found, or what is wrong, with the file's name."""


@dataclass(frozen=True)
class Expected:
    """What the registry says of a version; None: a folder, of which nobody says anything."""

    model: str | None = None
    result_sha256: str | None = None


def verify(folder: Path, trust: Trust, source: Path | None, expected: Expected = Expected()) -> list[Check]:
    """Look at a version's folder, which may hold anything; ends at the first thing that is wrong.

    Args:
        folder: of the version.
        trust: whose signatures are believed.
        source: a folder with source.json and source.safetensors, to hold mask and weights against; None:
            these are not looked at.
        expected: what the registry says of it.
    """
    checks: list[Check] = []
    bill: list[ReadBom] = []

    def signature() -> str:
        if SIGNATURE not in files_in(folder):
            raise ProvenanceError("not signed; `seam keys` makes a key, and what is registered from then on is signed")
        return f"every file is as {check_signature(folder, trust)} signed it"

    def materials() -> str:
        bill.append(check_bom(folder, expected))
        return f"{len(bill[0].files)} files, {len(bill[0].packages)} packages, source, data, parameters and code"

    steps: list[tuple[str, Callable[[], str]]] = [("signature", signature), ("bill of materials", materials)]
    if not _run(checks, steps) or not _has_pieces(bill[0]) or source is None:
        return checks
    from tasks.provenance.weights import Weights

    weights = Weights(folder, bill[0], source)
    _run(checks, [("mask", weights.check_mask), ("weights", weights.check_network)])
    return checks


def check_bom(folder: Path, expected: Expected = Expected()) -> ReadBom:
    """The bill of materials, held against the files that are there and against what the registry says.

    Raises:
        ProvenanceError: a file is changed, missing, or not in the bill, or it is the bill of another version.
    """
    bill, where = read_bom(folder / FOLDER / BOM), f"{FOLDER}/{BOM}"
    there = files_in(folder)
    unsaid = {f"{FOLDER}/{BOM}", *NOT_SIGNED}
    for name in sorted({*bill.files, *there} - unsaid):
        if name not in there:
            raise ProvenanceError(f"{name} is missing: {where} has it")
        if name not in bill.files:
            raise ProvenanceError(f"{name} was added: {where} does not have it")
        if sha256_file(there[name]) != bill.files[name]:
            raise ProvenanceError(f"{name} was changed: {where} has another sha256")
    if params_sha256(bill.params) != bill.params_sha256:
        raise ProvenanceError(f"{where}: the parameters have another sha256 than it says")
    says = {"model": bill.model, "result_sha256": bill.properties.get("result_sha256")}
    for name, said in (("model", expected.model), ("result_sha256", expected.result_sha256)):
        if said not in (None, says[name]):
            raise ProvenanceError(f"{where}: expected {name} {said}, as the registry says, got {says[name]}")
    return bill


def _has_pieces(bill: ReadBom) -> bool:
    """Whether the network can be put together again from what the version holds."""
    return any(name.startswith(f"{FOLDER}/") for name in bill.files)


def _run(checks: list[Check], steps: list[tuple[str, Callable[[], str]]]) -> bool:
    """Add the outcome of each step, up to the first that fails."""
    for name, step in steps:
        try:
            checks.append(Check(name, True, _printable(step())))
        except SeamError as e:
            checks.append(Check(name, False, _printable(str(e).rstrip("."))))
            return False
        except OSError as e:
            checks.append(Check(name, False, _printable(f"{type(e).__name__}: {e}")))
            return False
    return True


def _printable(text: str) -> str:
    """On one line, without what a terminal would act on: names of files come from outside."""
    return "".join(c if c.isprintable() else " " for c in text)[:600]
