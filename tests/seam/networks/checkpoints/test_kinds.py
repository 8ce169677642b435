"""Files that are not weights, whatever they are called: each has its own line."""

import io
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from seam.errors import SourceError
from seam.networks.checkpoints.kinds import kind_of
from seam.networks.checkpoints.read import read_state_dict


def _onnx() -> bytes:
    from onnx import helper

    value = helper.make_tensor_value_info("x", 1, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    return helper.make_model(graph, producer_name="here").SerializeToString()


def _script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), file)
    return file.getvalue()


def _saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    return file.getvalue()


def _zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


FILES = {
    "empty": (lambda: b"", "an empty file"),
    "web page": (lambda: b"\n<!DOCTYPE html><html><title>Virus scan warning</title></html>", r"a web page \(HTML\)"),
    "error of a store": (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", "a Git LFS pointer"),
    "dvc": (lambda: b"outs:\n- md5: 123\n  path: net.pth\n", "a DVC pointer"),
    "json": (lambda: b'{"error": "not found"}', "a text file"),
    "onnx": (_onnx, "an ONNX file"),
    "script": (_script, "a TorchScript archive"),
    "whole network": (lambda: _saved(nn.Linear(2, 2)), "a whole network, pickled: torch.nn.modules.linear.Linear"),
    "whole network beside": (lambda: _saved({"model": nn.Linear(2, 2), "epoch": 1}), "a whole network, pickled"),
    "arrays": (_arrays, "an archive of NumPy"),
    "array": (lambda: b"\x93NUMPY\x01\x00", "an array of NumPy"),
    "zip": (lambda: _zip("net.pth"), "a zip archive of other files"),
    "gzip": (lambda: b"\x1f\x8b\x08\x00\x00", "a compressed file"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
    "gguf": (lambda: b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "tflite": (lambda: b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite file"),
    "bytes": (lambda: bytes(range(200, 256)) * 9, "a damaged or truncated file|would execute code"),
    "numbers": (lambda: _saved({"epoch": 3}), r"expected a state dict \(names -> tensors\), got dict"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_each_is_refused_in_one_line_of_its_own(name, suffix, tmp_path):
    write, said = FILES[name]
    (tmp_path / f"net{suffix}").write_bytes(write())
    with pytest.raises(SourceError, match=said) as caught:
        read_state_dict(tmp_path / f"net{suffix}", "net")
    assert str(caught.value).startswith("net: ") and "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SourceError, match="got a folder"):
        read_state_dict(tmp_path)


def test_what_torch_writes_in_either_format_is_read(tmp_path):
    for new in (True, False):
        torch.save({"a": torch.ones(2)}, tmp_path / "w", _use_new_zipfile_serialization=new)
        assert kind_of(tmp_path / "w", "w") == "torch"
        assert torch.equal(read_state_dict(tmp_path / "w")["a"], torch.ones(2))
