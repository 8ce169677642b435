"""Where the time of an ONNX model goes: its operators, as ONNX Runtime runs them."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from seam.inference.variants import InputSpec


def operator_times(
    onnx: Path, takes: InputSpec, batch_size: int, num_threads: int, repeats: int, seed: int
) -> dict[str, float]:
    """Milliseconds a call spends in each kind of operator (after ONNX Runtime's fusion), the longest first.

    For every node the median over the calls, summed over the nodes of a kind. The profiler itself
    takes time, so the sum is more than a call's latency where there are many small operators.

    Args:
        onnx: a model with one input.
        takes: that input.
        batch_size: images a call.
        num_threads: the engine is pinned to.
        repeats: calls.
        seed: of the inputs.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        x, name = takes.example(batch_size, seed), session.get_inputs()[0].name
        for _ in range(repeats):
            session.run(None, {name: x})
        events = json.loads(Path(session.end_profiling()).read_text())
    return _by_operator(events)


def _by_operator(events: list[dict[str, Any]]) -> dict[str, float]:
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
    total: dict[str, float] = defaultdict(float)
    for (operator, _), times in nodes.items():
        total[operator] += statistics.median(times)
    return dict(sorted(total.items(), key=lambda item: -item[1]))
