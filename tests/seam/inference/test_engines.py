"""One record an engine: every list of engines is made of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from seam.configs.inference import EngineName, LatencyConfig
from seam.inference.engines import ENGINES, engines_that_take, pinned, version
from seam.inference.export import export_onnx
from tests.defaults import ROOT


def test_each_name_has_a_record_and_each_record_a_name() -> None:
    assert tuple(ENGINES) == get_args(EngineName)
    assert len({engine.label for engine in ENGINES.values()}) == len(ENGINES)
    assert set(LatencyConfig().engines) <= set(ENGINES)


def test_every_engine_takes_one_thing() -> None:
    taken = {what: engines_that_take(what) for what in ("onnx", "int8", "module")}
    assert taken == {
        "onnx": ("deepsparse", "onnxruntime", "openvino"),
        "int8": ("onnxruntime_int8", "openvino_int8"),
        "module": ("torch", "torch_compile"),
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_version_is_its_own_packages(engine: EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda package: f"{package} 1")
    assert version(engine) == f"{engine.removesuffix('_int8').removesuffix('_compile')} 1"


def test_an_engine_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version("openvino") is None


@pytest.mark.parametrize(("engine", "inside"), [("torch", 3), ("torch_compile", 3), ("onnxruntime", 2)])
def test_torch_is_pinned_where_it_is_the_engine(engine: EngineName, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pinned(engine, 3):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_records_import_no_engine() -> None:
    """The process of an engine that may crash, and `seam doctor`, read them."""
    packages = sorted({package for engine in ENGINES.values() for package in engine.packages})
    code = f"import sys, seam.inference.isolated; print([p for p in {packages} if p in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


SIGNALLED = """
import gc, os, signal, sys, threading
from pathlib import Path
import numpy as np
from seam.inference.engines import ENGINES
from seam.inference.variants import Variant

run = ENGINES["openvino"].load(Variant(Path(sys.argv[1])), 1, 1, {})
assert run(np.zeros((1, 1, 2, 2), np.float32)).shape == (1, 2)
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))


def drop():
    global run
    del run
    gc.collect()


thread = threading.Thread(target=drop)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_a_signal_after_openvino_is_gone_is_handled(tmp_path: Path) -> None:
    """Its model is freed in another thread, as a garbage collection may do; in a process that may crash."""
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), torch.zeros(1, 1, 2, 2), tmp_path / "net.onnx")
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path / "net.onnx")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr
