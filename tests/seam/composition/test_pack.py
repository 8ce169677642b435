"""Packs of modules: a few kilobytes that are bound to their source, and are whole or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file

from seam.composition.heads import HEADS, make_head
from seam.composition.module import Piece
from seam.composition.pack import CARD, Pack, load_pack, save_pack
from seam.errors import MaskError
from seam.masks.kernels import kernel_masks
from tests.seam.composition.networks import OUTPUTS, groups_and_some, seeded

SOURCE = "a" * 64


def pack() -> Pack:
    torch.manual_seed(0)
    network = seeded("concatenating")
    pieces = {}
    for i, kind in enumerate(HEADS):
        groups, kept = groups_and_some(network, i)
        pieces[f"class / {i}"] = Piece(kernel_masks(groups, kept), make_head(kind, OUTPUTS, i))
    return Pack(pieces, SOURCE, OUTPUTS, {"takes": {"shape": [3, 16, 16]}})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    wanted = pack()
    save_pack(wanted, tmp_path / "modules")
    found = load_pack(tmp_path / "modules", SOURCE)
    assert (list(found.pieces), found.outputs, found.about) == (list(wanted.pieces), OUTPUTS, wanted.about)
    logits = torch.randn(3, OUTPUTS)
    for name, piece in wanted.pieces.items():
        again = found.pieces[name]
        assert again.masks.keys() == piece.masks.keys()
        assert all(torch.equal(again.masks[k], v) for k, v in piece.masks.items())
        assert torch.equal(again.head(logits), piece.head(logits))
        assert not any(p.requires_grad for p in again.head.parameters())
    assert sum(f.stat().st_size for f in (tmp_path / "modules").iterdir()) < 8000


def test_a_new_pack_replaces_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pack(), pack()
    save_pack(old, tmp_path)
    new = Pack({"other": old.pieces["class / 1"]}, SOURCE, OUTPUTS, {})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seam.composition.pack.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            save_pack(new, tmp_path)
    assert list(load_pack(tmp_path).pieces) == list(old.pieces)
    save_pack(new, tmp_path)
    assert list(load_pack(tmp_path).pieces) == ["other"]
    assert len(list(tmp_path.iterdir())) == 2


def altered(folder: Path) -> None:
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    name = next(iter(sorted(tensors)))
    tensors[name] = tensors[name] + 1
    save_file(tensors, path)


def cut(folder: Path) -> None:
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:200])


def changed(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, **fields}))

    return change


def with_first(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        card["modules"][0] |= fields
        (folder / CARD).write_text(json.dumps(card))

    return change


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "altered tensors": (altered, "it was altered"),
    "tensors cut short": (cut, "it was altered"),
    "no card": (lambda f: (f / CARD).unlink(), "expected a pack of modules"),
    "no tensors": (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "No such file"),
    "a card that is no JSON": (lambda f: (f / CARD).write_text("{"), "expected a pack of modules"),
    "a card that is a list": (lambda f: (f / CARD).write_text("[]"), "expected a pack of modules"),
    "another format": (changed(format="seam-modules-0"), "format seam-modules-0"),
    "a file elsewhere": (changed(file="../x.safetensors"), "outside the folder"),
    "an output it has not": (with_first(head={"kind": "read_out", "output": 9}), "got number 9"),
    "another kind of head": (with_first(head={"kind": "cubic", "output": 0}), "got 'cubic'"),
    "a layer that is not there": (with_first(shapes={"nowhere.weight": [3]}), "nowhere"),
    "no modules": (changed(modules=None), "expected a pack of modules"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pack_is_one_line(name: str, tmp_path: Path) -> None:
    spoil, words = BAD[name]
    save_pack(pack(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(MaskError, match=words) as caught:
        load_pack(tmp_path, SOURCE)
    assert "\n" not in str(caught.value)


def test_a_pack_of_another_source_is_one_line(tmp_path: Path) -> None:
    save_pack(pack(), tmp_path)
    with pytest.raises(MaskError, match=r"made for the source with sha256 aaaa.* got a source with bbbb"):
        load_pack(tmp_path, "b" * 64)
