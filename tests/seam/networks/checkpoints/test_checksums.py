"""Weights that changed since they were written: torch reads them without a word, their archive knows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from seam.errors import SourceError
from seam.files import check_sums
from seam.networks.checkpoints.read import read_state_dict

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4)}


def flipped(path: Path, value: float) -> None:
    """One bit of a stored value."""
    content = bytearray(path.read_bytes())
    at = content.index(torch.tensor([value]).numpy().tobytes())
    content[at + 1] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_of_a_weight_is_refused(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pth")
    assert torch.equal(read_state_dict(tmp_path / "w.pth")["a.weight"], WEIGHTS["a.weight"])
    flipped(tmp_path / "w.pth", 5.0)
    assert not torch.equal(torch.load(tmp_path / "w.pth")["a.weight"], WEIGHTS["a.weight"])
    with pytest.raises(SourceError, match=r"damaged or truncated file \(w/data/0 in it is not what its checksum is of"):
        read_state_dict(tmp_path / "w.pth")


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    found = read_state_dict(tmp_path / "w.pth")
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


def test_which_entry_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("one", "two"):
            archive.writestr(name, name * 100)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        check_sums(archive)
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"twotwo", b"twoTwo", 1))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive, pytest.raises(ValueError, match=r"^two in it is not what"):
        check_sums(archive)
