"""One holder at a time among processes, freed by a kill; of several, whichever is free."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seam.configs.runtime import RuntimeConfig
from tasks.inputs.one_gpu import one_gpu
from tasks.project.alone import FOLDER, TIMES, alone
from tasks.project.params import Params
from tasks.project.stage import StageContext, StageResult, execute
from tests.defaults import PROBLEMS

HOLDER = """
import sys
from tasks.project.alone import alone
with alone(sys.argv[1:]) as number:
    print(number, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@contextmanager
def another(*names: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds one of these locks."""
    command = [sys.executable, "-c", HOLDER, *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "0\n"
        yield process
        process.kill()


def test_it_waits_for_another_process_and_goes_on_when_that_is_killed() -> None:
    waited = threading.Event()
    with another("times") as process:

        def on_wait() -> None:
            waited.set()
            process.kill()

        with alone(["times"], on_wait):
            assert waited.is_set()


def test_the_first_free_one_is_taken() -> None:
    with another("gpu-a"), alone(["gpu-a", "gpu-b"]) as number:
        assert number == 1
    with alone(["gpu-a", "gpu-b"]) as number:
        assert number == 0


@pytest.mark.parametrize(("stage", "waits"), [("benchmark_latency", True), ("search", False)])
def test_a_stage_that_takes_times_is_alone_and_says_that_it_waits(tmp_path: Path, stage: str, waits: bool) -> None:
    said: list[str] = []
    with another(TIMES) as process:

        def progress(_: float, text: str) -> None:
            said.append(text)
            process.kill()

        def body(context: StageContext) -> StageResult:
            return StageResult(context.stage, None, {"holder lives": process.poll() is None}, ())

        context = StageContext(stage, Params.model_validate({"problems": PROBLEMS}), tmp_path, None, progress)
        result = execute(body, context)
    assert result.summary == {"holder lives": not waits}
    assert said[:1] == (["waits: something else takes times on this machine"] if waits else [])


def test_a_search_takes_a_gpu_that_no_other_search_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that torch says there are: this machine may have none."""
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid="ab"[i]))
    monkeypatch.setattr(torch.cuda, "device", lambda i: nullcontext(current.append(i)))
    with another("gpu-a"), one_gpu(RuntimeConfig(), lambda *_: None):
        assert current == [1]
    with one_gpu(RuntimeConfig(device="cpu"), lambda *_: None):
        assert current == [1]
