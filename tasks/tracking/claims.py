"""What the stages said of a problem's networks, against the networks that are registered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from seam.errors import DataError, SuspectResultWarning
from seam.files import read_json
from seam.measures.macs import count
from seam.measures.shipped import Claim
from tasks.inputs.problem import load_model, problem_source
from tasks.project.stage import StageContext


def check_counts(context: StageContext) -> None:
    """Compare the sizes in evaluate's and benchmark_latency's files with those of the networks that the stages saved.

    Those of `evaluate` are without the new head. benchmark_latency compared its own with the
    exported files.

    Raises:
        DataError: a file says something else.
    """
    source, chosen = problem_source(context), context.params.register_model.model
    model, example = load_model(context, chosen), source.example()
    reengineered = model.network
    assert isinstance(reengineered, nn.Module)
    evaluated, exported = _files(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuspectResultWarning)  # of what is not counted; said by those stages
        for path, name, network in (
            (evaluated, "source", source.network),
            (evaluated, chosen, reengineered),
            (exported, "source", source.network),
            (exported, "reengineered", model),
        ):
            _compare(path, name, read_json(path)[name], asdict(count(network, example)))


def exported_claim(context: StageContext) -> Claim:
    """What benchmark_latency says of the compacted network."""
    _, path = _files(context)
    return Claim(read_json(path)["compacted"], str(path), "run the stage benchmark_latency again")


def _files(context: StageContext) -> tuple[Path, Path]:
    return context.artifact("evaluate", "metrics.json"), context.artifact("benchmark_latency", "export.json")


def _compare(path: Path, name: str, said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for key, number in found.items():
        if said[key] != number:
            raise DataError(
                f"{path}: expected {number:,} for {key} of '{name}', as is counted on its weights, got {said[key]:,}",
                hint="rerun_producer",
                path=path,
            )
