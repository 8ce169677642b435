"""An engine that may crash or hang: `measure` and `outputs` in a process of its own, which does not import torch.

That process is `python -m seam.inference.isolated REQUEST.json RESPONSE.json`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seam.configs.inference import EngineName, LatencyConfig
from seam.files import read_json, write_json
from seam.inference.engines import ENGINES
from seam.inference.measure import Measurement, measure, outputs
from seam.inference.timing import Clock
from seam.inference.variants import Batch, FloatArray, InputSpec, Variant

_LIMIT_S = 1800.0


def measure_isolated(
    engine: EngineName,
    variants: Mapping[str, Variant],
    takes: InputSpec,
    config: LatencyConfig,
    seed: int,
    clock: Clock = "wall",
) -> Measurement:
    """Time every variant on one engine, in a process of its own.

    Raises:
        RuntimeError: the engine is not installed, or its process crashed, hung or failed.
    """
    request = {
        "onnx": {name: str(variant.onnx.resolve()) for name, variant in variants.items()},
        "takes": asdict(takes),
        "config": asdict(config),
        "seed": seed,
        "clock": clock,
    }
    with tempfile.TemporaryDirectory() as folder:
        return Measurement(**_ask(engine, request, Path(folder)))


def outputs_isolated(engine: EngineName, variant: Variant, x: Batch, num_threads: int) -> FloatArray:
    """Of a model on an engine, shape (images, classes), in a process of its own.

    Raises:
        RuntimeError: the engine is not installed, or its process crashed, hung or failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", x, allow_pickle=False)
        request = {"onnx": {"model": str(variant.onnx.resolve())}, "inputs": str(folder / "inputs.npy")}
        _ask(engine, {**request, "outputs": str(folder / "outputs.npy"), "num_threads": num_threads}, folder)
        made: FloatArray = np.load(folder / "outputs.npy", allow_pickle=False)
        return made


def _ask(engine: EngineName, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a process of its own answers.

    Raises:
        RuntimeError: the engine is not installed, or its process crashed, hung or failed.
    """
    library = ENGINES[engine].packages[0]
    if importlib.util.find_spec(library) is None:
        raise RuntimeError(
            f"not installed ({platform.system()} {platform.machine()}, Python {platform.python_version()})"
        )
    files = [folder / "request.json", folder / "response.json"]
    write_json(files[0], {"engine": engine, **request})
    command = [sys.executable, "-m", "seam.inference.isolated", *map(str, files)]
    environment = {**os.environ, **ENGINES[engine].environment}
    try:
        done = _run_with_us(command, Path(__file__).parents[2], environment)
    except subprocess.TimeoutExpired as e:
        raise RuntimeError(f"it did not finish within {_LIMIT_S:g} s") from e
    if done.returncode < 0:
        raise RuntimeError(
            f"its process was ended by {signal.Signals(-done.returncode).name}; this CPU is probably not supported"
        )
    if done.returncode > 0:
        raise RuntimeError(
            done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"its process ended with status {done.returncode}"
        )
    return read_json(files[1])


def _run_with_us(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that ends with this process, however that ends: the pipe that it reads from closes then."""
    read, write = os.pipe()
    try:
        return subprocess.run(
            command, stdin=read, cwd=cwd, env=env, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    finally:
        os.close(read)
        os.close(write)


def _end_with_parent() -> None:
    """The other end of the pipe."""
    os.read(0, 1)
    os._exit(1)


def _serve_request(request: Path, response: Path) -> None:
    """The other end of `_ask`."""
    wanted = read_json(request)
    variants = {name: Variant(Path(path)) for name, path in wanted["onnx"].items()}
    if "inputs" in wanted:
        x = np.load(wanted["inputs"], allow_pickle=False)
        made = outputs(wanted["engine"], variants["model"], x, wanted["num_threads"])
        np.save(wanted["outputs"], made, allow_pickle=False)
        write_json(response, {})
        return
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in wanted["config"].items()
    }
    takes = InputSpec(tuple(wanted["takes"]["shape"]), wanted["takes"]["dtype"])
    config = LatencyConfig(**values)
    measured = measure(wanted["engine"], variants, takes, config, wanted["seed"], wanted["clock"])
    write_json(response, asdict(measured))


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serve_request(Path(sys.argv[1]), Path(sys.argv[2]))
