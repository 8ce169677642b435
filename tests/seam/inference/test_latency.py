"""The timing protocol and the engines. Nothing here depends on how fast this machine is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import seam.inference.isolated
from seam.configs.inference import LatencyConfig
from seam.inference.engines import ENGINES
from seam.inference.export import export_onnx
from seam.inference.latency import benchmark
from seam.inference.timing import hardware, interleave, paired_ratio, summarize
from seam.inference.variants import InputSpec, Variant

SHAPE = (3, 8, 8)
KEYS = {"latency_ms_p50", "latency_ms_p95", "latency_ms_min", "num_threads", "batch_size", "repeats"}
RATIO = {"ratio", "ratio_low", "ratio_high"}


def small(width: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)
        ).eval()


@pytest.fixture
def variants(tmp_path: Path) -> dict[str, Variant]:
    made = {}
    for name, width in (("source", 8), ("reengineered", 4)):
        export_onnx(small(width), torch.zeros(1, *SHAPE), tmp_path / f"{name}.onnx")
        made[name] = Variant(tmp_path / f"{name}.onnx", small(width))
    return made


def config(*engines: str) -> LatencyConfig:
    return LatencyConfig(engines=engines, batch_sizes=(1, 4), warmup=2, repeats=10)


def test_calls_alternate_after_the_warm_up() -> None:
    calls: list[str] = []

    def runner(name: str) -> object:
        return lambda x: (calls.append(name), x)[1]

    times = interleave({"a": runner("a"), "b": runner("b")}, np.zeros((1, 1), np.float32), warmup=2, repeats=3)
    assert calls == list("abba" + "abba" + "ab")
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert all(t >= 0 for values in times.values() for t in values)


def test_percentiles_by_hand() -> None:
    summary = summarize([i * 1_000_000 for i in range(1, 102)], batch_size=16, num_threads=2)
    assert summary == {
        "latency_ms_p50": 51.0,
        "latency_ms_p95": 96.0,
        "latency_ms_min": 1.0,
        "num_threads": 2,
        "batch_size": 16,
        "repeats": 101,
    }


def test_the_ratio_of_two_runners_by_hand() -> None:
    found = paired_ratio([10, 30, 20, 20, 12, 28], [20, 20, 10, 30, 5, 35], seed=0)
    assert found == {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}  # every pair of turns took 40
    assert paired_ratio([30] * 20, [20] * 20, seed=0)["ratio"] == 1.5


def test_a_runner_against_itself_gives_one_within_its_interval_while_the_machine_is_disturbed() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        load = np.repeat(
            np.where(rng.random(25) < 0.3, 3.0, 1.0), 4
        )  # bursts of four turns in which all is three times slower
        first_in_turn = np.where(np.arange(100) % 2 == 0, 1.2, 1.0)  # whoever goes first pays for cold caches
        noise = rng.lognormal(0, 0.1, (2, 100))
        ours, theirs = 1e6 * load * noise * np.stack([first_in_turn, 2.2 - first_in_turn])
        found = paired_ratio(ours.astype(int).tolist(), theirs.astype(int).tolist(), seed)
        covered.append(found["ratio_low"] <= 1 <= found["ratio_high"])
        assert found["ratio_high"] - found["ratio_low"] < 0.15
    assert np.mean(covered) > 0.88  # nominal: 0.95


def test_inputs_are_seeded_and_contiguous() -> None:
    x = InputSpec(SHAPE).example(4, 3)
    assert x.shape == (4, *SHAPE)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.array_equal(x, InputSpec(SHAPE).example(4, 3))
    assert not np.array_equal(x, InputSpec(SHAPE).example(4, 4))


def test_every_engine_times_every_variant_and_batch_size(variants: dict[str, Variant]) -> None:
    threads = torch.get_num_threads()
    seen: list[str] = []
    results, about = benchmark(
        variants, InputSpec(SHAPE), config("onnxruntime", "torch"), 0, lambda share, text: seen.append(text)
    )
    assert seen == ["onnxruntime", "torch"]
    assert torch.get_num_threads() == threads
    for engine in ("onnxruntime", "torch"):
        assert set(results[engine]) == {"source", "reengineered"}
        assert about[engine]["version"]
        for name, by_batch in results[engine].items():
            assert set(by_batch) == {"batch1", "batch4"}
            for batch, measured in by_batch.items():
                assert set(measured) == (KEYS if name == "source" else KEYS | RATIO)
                assert f"batch{measured['batch_size']}" == batch
                assert (measured["num_threads"], measured["repeats"]) == (1, 10)
                assert 0 < measured["latency_ms_min"] <= measured["latency_ms_p50"] <= measured["latency_ms_p95"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, g++ is not installed")
def test_torch_compile_is_an_engine_whose_outputs_are_checked(variants: dict[str, Variant]) -> None:
    results, about = benchmark(variants, InputSpec(SHAPE), replace(config("torch_compile"), batch_sizes=(4,)), 0)
    assert set(results["torch_compile"]["source"]["batch4"]) == KEYS
    assert about["torch_compile"]["version"] == importlib.metadata.version("torch")


@pytest.mark.skipif(importlib.util.find_spec("deepsparse") is None, reason="DeepSparse is not installed")
def test_deepsparse_runs_in_its_own_process_or_says_why_not(variants: dict[str, Variant]) -> None:
    before = set(sys.modules)
    results, about = benchmark(variants, InputSpec(SHAPE), config("deepsparse"), 0)
    assert "deepsparse" not in set(sys.modules) - before
    measured = results["deepsparse"]
    if "unavailable" in measured:
        assert "\n" not in measured["unavailable"]
    else:
        assert set(measured["source"]["batch4"]) == KEYS
        assert 0 <= about["deepsparse"]["fraction_of_supported_ops"] <= 1


def test_a_missing_engine_is_reported_and_the_rest_goes_on(
    variants: dict[str, Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "deepsparse" else find(name, *rest)
    )
    results, _ = benchmark(variants, InputSpec(SHAPE), config("deepsparse", "torch"), 0)
    assert results["deepsparse"]["unavailable"].startswith("not installed")
    assert "source" in results["torch"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -ILL $$", "SIGILL"),
        ("echo noise >&2; echo 'OSError: no AVX2 here' >&2; exit 1", "OSError: no AVX2 here"),
        ("exit 3", "status 3"),
    ],
)
def test_an_engine_that_takes_its_process_down_is_reported(
    variants: dict[str, Variant], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    results, _ = benchmark(variants, InputSpec(SHAPE), config("deepsparse", "onnxruntime"), 0)
    assert reason in results["deepsparse"]["unavailable"]
    assert "source" in results["onnxruntime"]


def test_an_engine_that_hangs_is_given_up(
    variants: dict[str, Variant], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(seam.inference.isolated, "_LIMIT_S", 0.2)
    results, _ = benchmark(variants, InputSpec(SHAPE), config("deepsparse"), 0)
    assert "did not finish" in results["deepsparse"]["unavailable"]


def test_an_engine_that_computes_something_else_is_not_timed(
    variants: dict[str, Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ENGINES["onnxruntime"].load

    def wrong(*arguments: object) -> object:
        run = right(*arguments)
        return lambda x: run(x) + np.float32(0.01)

    monkeypatch.setitem(ENGINES, "onnxruntime", replace(ENGINES["onnxruntime"], load=wrong))
    results, _ = benchmark(variants, InputSpec(SHAPE), config("onnxruntime", "torch"), 0)
    assert "differ from those expected by 0.01" in results["onnxruntime"]["unavailable"]
    assert "source" in results["torch"]


def test_the_machine_is_described() -> None:
    machine = hardware()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert len(machine["load_average"]) == 3
