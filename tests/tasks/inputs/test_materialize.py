"""Many problems of one source stored as one source and a small pack each: built again bit by bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from seam.errors import ConfigError, MaskError
from seam.inference.export import export_onnx
from tasks.inputs.materialize import PIECES, materialize
from tasks.inputs.problem import load_model
from tasks.project.stage import StageContext


def test_a_network_is_built_from_source_and_pack_alone_bit_by_bit(
    registry_project: StageContext, tmp_path: Path
) -> None:
    context = registry_project
    export_onnx(load_model(context, "reengineered"), torch.zeros(1, 3, 8, 8), tmp_path / "wanted.onnx")
    kept = tmp_path / "kept"
    for stage, names in (("prepare_source", ("source.safetensors", "source.json")), ("search", PIECES)):
        folder = kept / context.folder(stage).relative_to(context.root)
        folder.mkdir(parents=True)
        for name in names:
            shutil.copyfile(context.artifact(stage, name), folder / name)
    for name in ("one.onnx", "two.onnx", "one.safetensors", "two.safetensors"):
        said = materialize(kept, context.params, "zero", tmp_path / name)
        assert name in said and "bytes of zero's own" in said
    assert (
        (tmp_path / "one.onnx").read_bytes()
        == (tmp_path / "two.onnx").read_bytes()
        == (tmp_path / "wanted.onnx").read_bytes()
    )
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_what_is_missing_or_wrong_is_one_clear_line(registry_project: StageContext, tmp_path: Path) -> None:
    context, out = registry_project, tmp_path / "net.onnx"
    with pytest.raises(ConfigError, match="unknown problem 'one'"):
        materialize(context.root, context.params, "one", out)
    with pytest.raises(ConfigError, match=r"expected a file name that ends in .safetensors or .onnx, got '.pt'"):
        materialize(context.root, context.params, "zero", tmp_path / "net.pt")
    context.artifact("search", "mask.safetensors").write_bytes(b"damaged")
    with pytest.raises(MaskError, match="expected a mask pack"):
        materialize(context.root, context.params, "zero", out)
    context.artifact("search", "mask.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"not there; `dvc pull prepare_source problems/zero/dvc.yaml:search`"):
        materialize(context.root, context.params, "zero", out)
    assert not out.exists()
