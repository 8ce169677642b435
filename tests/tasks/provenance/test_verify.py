"""seam verify: what was registered passes, whatever was changed is found and named, in one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mlflow.pyfunc import load_model
from onnx.onnx_ml_pb2 import TensorProto

from seam.compaction import ENGINE_BLOCK, compact
from seam.files import sha256_file
from seam.inference.export import export_serving_onnx
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.networks.build import build
from seam.networks.source import load_source, save_source
from tasks.provenance import folder as limits
from tasks.provenance.bom import BOM, FOLDER, NETWORK
from tasks.provenance.keys import make_keys
from tasks.provenance.pieces import MASK, load_pieces, put_together, save_pieces
from tasks.provenance.signing import SIGNATURE, Trust, sign
from tasks.provenance.verify import Check, Expected, verify
from tests.tasks.provenance.conftest import Signed

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from flips import flips, outcome

BILL = f"{FOLDER}/{BOM}"


def checked(signed: Signed) -> list[Check]:
    return verify(signed.folder, signed.trust, signed.source, signed.expected)


def wrong_with(signed: Signed) -> Check:
    """The one check that does not pass, on one line."""
    *before, last = checked(signed)
    assert all(check.passed for check in before)
    assert not last.passed
    assert "\n" not in last.text
    return last


def sign_again(signed: Signed, edit: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """As whoever has the key could: the bill says what is there now, and is signed."""
    path = signed.folder / BILL
    bill = json.loads(path.read_text())
    for part in bill["components"]:
        if part["bom-ref"].startswith("file:"):
            part["hashes"][0]["content"] = sha256_file(signed.folder / part["name"])
    edit(bill)
    path.write_text(json.dumps(bill))
    assert sign(signed.folder)


def test_what_was_registered_verifies(signed: Signed) -> None:
    checks = checked(signed)
    assert [check.name for check in checks if check.passed] == ["signature", "bill of materials", "mask", "weights"]
    masks = load_mask_pack(signed.folder / FOLDER / MASK).masks
    kept, whole = sum(int(m.sum()) for m in masks.values()), sum(m.numel() for m in masks.values())
    assert f"{kept} of {whole} weights kept" in checks[2].text
    assert "byte by byte" in checks[3].text


def test_every_flipped_bit_is_found_and_its_file_named(signed: Signed) -> None:
    drawn = list(flips(signed.folder, 100, seed=3))
    assert {flip.file for flip in drawn} == set(limits.files_in(signed.folder))
    missed = {flip: wrong for flip in drawn if (wrong := outcome(signed.folder, flip, signed.trust, signed.source))}
    assert not missed
    assert checked(signed)[-1].passed


def test_a_signature_written_otherwise_is_found(signed: Signed) -> None:
    path = signed.folder / SIGNATURE
    path.write_text(path.read_text().replace('"tlogEntries":[]', '"tlogEntries":[ ]'))
    assert SIGNATURE in wrong_with(signed).text


def test_loading_it_leaves_it_as_it_was_signed(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    load_model(str(signed.folder)).predict(np.zeros((1, 8, 8, 1), np.uint8))
    assert checked(signed)[-1].passed


def add_file(folder: Path) -> str:
    (folder / "more.py").write_text("1")
    return "more.py"


def add_hidden_file(folder: Path) -> str:
    (folder / ".gitignore").write_text("1")
    return ".gitignore"


def remove_file(folder: Path) -> str:
    (folder / NETWORK).unlink()
    return NETWORK


def link_file(folder: Path) -> str:
    (folder / "conda.yaml").unlink()
    (folder / "conda.yaml").symlink_to("/etc/hostname")
    return "conda.yaml"


def link_folder(folder: Path) -> str:
    (folder / "more").symlink_to("/etc")
    return "more"


def make_pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def nest_deeply(folder: Path) -> str:
    (folder / "/".join("a" * 12)).mkdir(parents=True)
    return "folders deep"


def break_signature(folder: Path) -> str:
    (folder / SIGNATURE).write_text("[" * 100_000)
    return SIGNATURE


def sign_nothing(folder: Path) -> str:
    (folder / SIGNATURE).write_text('{"verificationMaterial": {"publicKey": {"hint": 3}}}')
    return SIGNATURE


def remove_signature(folder: Path) -> str:
    (folder / SIGNATURE).unlink()
    return "not signed"


def name_with_control_characters(folder: Path) -> str:
    (folder / "a\n\x1b[31mb").touch()
    return "was added"


CHANGES = [add_file, add_hidden_file, remove_file, link_file, link_folder, make_pipe, nest_deeply, break_signature]
CHANGES += [sign_nothing, remove_signature, name_with_control_characters]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_one_line(signed: Signed, change: Callable[[Path], str]) -> None:
    assert change(signed.folder) in wrong_with(signed).text


def test_more_than_the_limits_is_refused(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 10_000)
    assert "10,000" not in wrong_with(signed).text
    assert "expected at most" in wrong_with(signed).text


def test_another_key_is_not_believed(signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_KEYS", str(tmp_path / "others"))
    other = make_keys(tmp_path / "project")
    (last,) = verify(signed.folder, Trust([other.public]), signed.source)
    assert not last.passed
    assert "a key that is trusted" in last.text
    sign(signed.folder)
    assert "a key that is trusted" in wrong_with(signed).text


def test_a_version_under_another_name_is_found(signed: Signed) -> None:
    said = Expected("seam-other", signed.expected.result_sha256)
    assert "expected model seam-other" in verify(signed.folder, signed.trust, None, said)[-1].text
    said = Expected("seam-zero", "0" * 64)
    assert "result_sha256 0000" in verify(signed.folder, signed.trust, None, said)[-1].text


def test_a_signed_network_with_another_weight_is_found(signed: Signed) -> None:
    path = signed.folder / NETWORK
    network = onnx.load(path)
    tensor = next(t for t in network.graph.initializer if t.data_type == TensorProto.FLOAT and t.dims)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.01
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path.write_bytes(network.SerializeToString())
    sign_again(signed)
    last = wrong_with(signed)
    assert last.name == "weights"
    assert f"{tensor.name} differs by 0.01" in last.text


def test_a_signed_network_that_is_wired_otherwise_is_found(signed: Signed) -> None:
    path = signed.folder / NETWORK
    network = onnx.load(path)
    relu = next(node for node in network.graph.node if node.op_type == "Relu")
    relu.op_type = "Sigmoid"
    path.write_bytes(network.SerializeToString())
    sign_again(signed)
    assert "expected the graph of what it is made of" in wrong_with(signed).text


def test_a_signed_mask_of_something_else_is_found(signed: Signed) -> None:
    path = signed.folder / FOLDER / MASK
    pack = load_mask_pack(path)
    save_mask_pack(pack.masks, "0" * 64, path)
    sign_again(signed)
    assert wrong_with(signed).name == "mask"
    assert "0000" in wrong_with(signed).text
    more = {name: torch.ones_like(mask) for name, mask in pack.masks.items()}
    save_mask_pack(more, pack.source_sha256, path)
    sign_again(signed)
    assert "of the bill" in wrong_with(signed).text


@pytest.mark.parametrize("model", ["reengineered_finetuned", "reengineered"])
def test_weights_that_moved_are_counted_and_only_fine_tuning_moves_them(signed: Signed, model: str) -> None:
    source, pieces = load_source(signed.source), load_pieces(signed.folder / FOLDER)
    network = put_together(pieces, source)
    name, mask = next((n, m) for n, m in pieces.pack.masks.items() if m.any())
    with torch.no_grad():
        weight = network.network.get_parameter(name)
        weight[tuple(mask.nonzero()[0])] += 0.5
    save_pieces(network, signed.folder / FOLDER / MASK, signed.folder / FOLDER)
    compacted = compact(network, source.example(), ENGINE_BLOCK).module
    export_serving_onnx(compacted, source.preprocess(), source.info.image_shape, signed.folder / NETWORK)

    def made_by(bill: dict[str, Any]) -> None:
        about = bill["metadata"]["component"]["properties"]
        next(p for p in about if p["name"] == "seam:model")["value"] = model

    sign_again(signed, made_by)
    last, total = checked(signed)[-1], sum(int(m.sum()) for m in pieces.pack.masks.values())
    assert last.name == "weights"
    assert last.passed == (model == "reengineered_finetuned")
    assert f"1 of {total} kept weights" in last.text
    assert ("moved, by 0.5 at most" in last.text) == last.passed


def test_another_source_is_found(signed: Signed, tmp_path: Path) -> None:
    info = load_source(signed.source).info
    torch.manual_seed(7)
    save_source(build(info.architecture, 3), info, tmp_path)
    last = verify(signed.folder, signed.trust, tmp_path)[-1]
    assert (last.name, last.passed) == ("mask", False)
    assert sha256_file(tmp_path / "source.safetensors") in last.text
    last = verify(signed.folder, signed.trust, tmp_path / "nothing")[-1]
    assert (last.name, last.passed) == ("mask", False)


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"metadata": 3}', "\xff", '{"bomFormat": "CycloneDX"}'])
def test_a_signed_bill_that_is_none_is_one_line(signed: Signed, content: str) -> None:
    (signed.folder / BILL).write_bytes(content.encode("latin-1"))
    sign(signed.folder)
    assert BOM in wrong_with(signed).text


def test_a_signed_bill_that_lies_is_found(signed: Signed) -> None:
    def other_parameters(bill: dict[str, Any]) -> None:
        part = next(p for p in bill["components"] if p["bom-ref"] == "parameters")
        part["properties"][0]["value"] = part["properties"][0]["value"].replace('"seed": 0', '"seed": 1')

    sign_again(signed, other_parameters)
    assert "parameters" in wrong_with(signed).text


def test_without_a_source_signature_and_bill_are_checked(signed: Signed) -> None:
    assert [check.passed for check in verify(signed.folder, signed.trust, None)] == [True, True]


def test_a_copy_in_place_of_links_is_what_is_checked(signed: Signed, tmp_path: Path) -> None:
    """A folder that is itself a link is not followed."""
    (tmp_path / "link").symlink_to(signed.folder)
    assert "got a link" in verify(tmp_path / "link", signed.trust, None)[-1].text
    shutil.rmtree(signed.folder)
    assert not verify(signed.folder, signed.trust, None)[-1].passed
