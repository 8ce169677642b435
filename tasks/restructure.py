"""The source with fewer blocks, or with some trained again (DeepArc), measured on test; a source for `seam run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from seam.data.images import LabelledImages, images_of
from seam.data.prepared import load_prepared
from seam.door.times import measured
from seam.errors import ConfigError
from seam.files import write_json, write_text
from seam.measures.macs import count
from seam.methods.deeparc import Restructured
from seam.methods.deeparc import restructure as by_deeparc
from seam.methods.protocol import Target, Watch
from seam.methods.restructuring import Change
from seam.networks.predict import accuracy, predict
from seam.networks.source import Source
from seam.networks.state_dicts import save_weights
from seam.runtime import start
from seam.training.loop import Epoch
from tasks.inputs.problem import problem_source
from tasks.inputs.splits import problem_split
from tasks.project.params import round_trip
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.report.restructuring import render_restructuring_report, similarity_plot

_ARCHITECTURE = '''"""{architecture} without the blocks that a restructuring removed."""

from torch import nn

from seam.compaction.blocks import without_blocks
from seam.networks.build import build

REMOVED = {removed!r}


def network(num_classes: int) -> nn.Module:
    """With fresh weights."""
    return without_blocks(build({architecture!r}, num_classes), REMOVED)
'''


def restructure(context: StageContext) -> StageResult:
    """Restructure the source, and publish it as one.

    Writes network.py and network.safetensors, source.yaml (the parameters with which `seam run` takes
    these as its source), segments.json, metrics.json, cka.svg and report.html.

    Raises:
        ConfigError: the source is this restructuring's own result.
        SourceError: no block of it can be removed.
        DataError: fewer than 4 training images.
    """
    params, source = context.params, problem_source(context)
    if context.folder(context.stage).resolve() in Path(context.root, params.prepare_source.checkpoint or "").parents:
        raise ConfigError(
            f"restructurings.{context.name}: expected another source than its own result,"
            f" {params.prepare_source.checkpoint}; give it another name, or another prepare_source.checkpoint."
        )
    data = load_prepared(context.artifact("validate_data", "dataset.safetensors"))
    split = problem_split(params, data)
    train, val = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
    target = Target(train, val, source.preprocess(), len(data.classes))
    runtime = start(params.runtime, source.info.pixels)
    config = params.restructurings[context.name]
    trainings = (1 + 2 * config.controls) * config.training.epochs
    watch = Watch(context.work_folder, on_epoch=_observer(context, trainings))
    with collect_warnings(context) as doubts:
        made = by_deeparc(source.network, target, config, runtime, params.seed, watch)
    context.progress(0.95, "measure on test")
    metrics = _measured(context, source, made, images_of(data, "test", split.test)) | {"warnings": doubts}
    blocks = [asdict(block) for block in made.segments.chain.blocks]
    segments = {"blocks": blocks, "runs": made.segments.runs, "cka": made.segments.cka.tolist()}
    drawn = similarity_plot(segments, metrics)
    page = render_restructuring_report(context, metrics, drawn)
    with context.publish() as out:
        save_weights(made.network.cpu(), out / "network.safetensors")
        architecture, removed = source.info.architecture, made.change.removed
        write_text(out / "network.py", _ARCHITECTURE.format(architecture=architecture, removed=removed))
        with (out / "source.yaml").open("w") as file:
            round_trip().dump(_as_source(context, source), file)
        write_json(out / "segments.json", segments)
        write_json(out / "metrics.json", metrics)
        write_text(out / "cka.svg", drawn.svg)
        write_text(out / "report.html", page)
    after = metrics["restructured"]
    summary = {"removed": len(made.change.removed), "blocks": len(blocks), "accuracy": after["accuracy"]}
    return context.result({**summary, "macs": after["macs"], "trained_share": made.change.trained_share})


def _observer(context: StageContext, trainings: int) -> Callable[[Epoch], None]:
    """Shows how far the trainings are."""
    done = iter(range(1, trainings + 1))
    return lambda epoch: context.progress(
        0.9 * next(done) / max(1, trainings), f"training, val accuracy {epoch.val_accuracy:.3f}"
    )


def _measured(context: StageContext, source: Source, made: Restructured, test: LabelledImages) -> dict[str, Any]:
    """What metrics.json says."""
    before, after, shape = source.network.cpu(), made.network.cpu(), source.example()
    networks = {"source": before, "restructured": after}
    times, conditions = measured(before, after, shape.expand(2, -1, -1, -1), context.params.profile_source, 0)
    sizes = {
        name: {**_size(network, shape, test, source.preprocess()), "latency_ms_p50": milliseconds}
        for (name, network), milliseconds in zip(networks.items(), times, strict=True)
    }
    sizes["source"]["val_accuracy"] = made.source_val_accuracy
    sizes["restructured"]["val_accuracy"] = made.change.val_accuracy
    return {
        **sizes,
        "num_test": len(test),
        "aim": context.params.restructurings[context.name].aim,
        "change": _told(made.change),
        "controls": [_told(change) for change in made.controls],
        "conditions": conditions,
    }


def _size(network: nn.Module, example: Tensor, test: LabelledImages, preprocess: nn.Module) -> dict[str, Any]:
    found = count(network, example)
    return {
        "accuracy": accuracy(predict(network, test, preprocess), test.labels),
        "params_total": found.params_total,
        "macs": found.macs_nonzero,
    }


def _told(change: Change) -> dict[str, Any]:
    """One way, without its epochs but for their number."""
    return {**asdict(change), "epochs": max(0, len(change.epochs) - 1)}


def _as_source(context: StageContext, source: Source) -> dict[str, Any]:
    """Parameters under which the result is the source of the problems."""
    folder = context.folder(context.stage).relative_to(context.root)
    return {
        "prepare_source": {
            "architecture": f"{folder}/network.py:network",
            "checkpoint": f"{folder}/network.safetensors",
            "expected_accuracy": None,
            "mean": list(source.info.mean),
            "std": list(source.info.std),
        },
        "restructurings": {},
    }


if __name__ == "__main__":
    main(restructure, __doc__)
