"""The source taken apart into a module a class (GradSplitter and its like), measured on test; a pack of modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from seam.composition.module import Takes
from seam.composition.splitting import Cycle
from seam.data.images import LabelledImages, images_of
from seam.data.prepared import load_prepared
from seam.door.measured_parts import MeasuredParts, measure_parts
from seam.door.parts import Modules, modules_of
from seam.door.times import measured
from seam.files import read_json, write_json, write_text
from seam.measures.macs import count
from seam.methods.catalogue import MODULES, find
from seam.methods.modules import Classes, ModulesWatch
from seam.methods.modules import modularize as make_modules
from seam.networks.predict import accuracy
from seam.networks.source import Source, save_source
from seam.runtime import start
from tasks.inputs.images import ABOUT, IMAGES, project_images, write_about
from tasks.inputs.own_images import own_images
from tasks.inputs.own_source import own_source
from tasks.inputs.parts import PACK
from tasks.inputs.splits import unseen_split
from tasks.project.data_guard import digest_of_data
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.project.stages import MODULARIZED
from tasks.report.confusion import confusion
from tasks.report.modularization import plots, render_modularization_report


def modularize(context: StageContext) -> StageResult:
    """Take the source apart, and publish modules and source.

    Writes modules/ (the pack), source.safetensors and source.json (what it is bound to), data/ (images
    of its own, or about.json alone), metrics.json, pictures and report.html; and
    artifacts/modularized/NAME.json, which changes with them.

    Raises:
        DataError: images of its own that are not what they should be; a class has no image in train or
            val.
        NoChannelsError: none of the source's channels can be removed, which the method needs.
    """
    params = context.params
    config = params.modularizations[context.name]
    own = own_images(context, config.data, "data")
    source = own_source(context, config.source, "source", own.dataset if own else None)
    images = own or project_images(context)
    data = load_prepared(images.dataset)
    split = unseen_split(params, data, seen=not source.info.trained_here)
    train, val = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
    classes = Classes(train, val, source.preprocess(), data.classes)
    classes.check()
    runtime = start(params.runtime, source.info.pixels)
    watch = ModulesWatch(context.work_folder, _observer(context))
    with collect_warnings(context) as doubts:
        pieces = make_modules(config.method, source.network, classes, config, runtime, params.seed, watch)
    context.progress(0.95, "measure on test")
    network, example = source.network.cpu(), source.example()
    made = modules_of(network, pieces, Takes.of(source.preprocess(), example), {}, len(data.classes), context.name)
    test = images_of(data, "test", split.test)
    found = measure_parts(made, test)
    files = {own.config.path: digest_of_data(context.root / own.config.path)} if own else {}
    metrics = _metrics(context, source, made, found, test) | {
        "files": files,
        "warnings": [*source.info.warnings, *doubts],
    }
    kept = [[float(mask.double().mean()) for mask in piece.masks.values()] for piece in pieces.values()]
    layers = list(next(iter(pieces.values())).masks)
    drawn = plots(metrics, layers, kept, found.jaccard.tolist())
    page = render_modularization_report(context, metrics, drawn)
    with context.publish() as out:
        made.save(out / PACK)
        write_about(images, own is not None, out / IMAGES)
        if own:
            for path in own.dataset.parent.iterdir():
                path.replace(out / IMAGES / path.name)
        save_source(network, source.info, out)
        write_json(out / "metrics.json", metrics)
        for plot in drawn:
            write_text(out / f"{plot.name}.svg", plot.svg)
        write_text(out / "report.html", page)
    _mark(context)
    together = metrics["composed"]
    return context.result(
        {
            "modules": len(pieces),
            "kernels": metrics["kernels"],
            "accuracy": together["accuracy"],
            "macs": together["macs"],
        }
    )


def _observer(context: StageContext) -> Callable[[Cycle], None]:
    """Shows how far the search is."""
    return lambda cycle: context.progress(
        0.9 * cycle.number / max(1, cycle.of),
        f"cycle {cycle.number}/{cycle.of}, {100 * cycle.kept:.0f}% kept, val accuracy {cycle.val_accuracy:.3f}",
    )


def _metrics(
    context: StageContext, source: Source, made: Modules, found: MeasuredParts, test: LabelledImages
) -> dict[str, Any]:
    """What metrics.json says."""
    example, number = source.example(), len(made)
    networks = {"source": made.source, "composed": found.composed}
    logits = {"source": found.source_logits, "composed": found.composed_logits}
    times, conditions = measured(
        made.source, found.composed, example.expand(2, -1, -1, -1), context.params.profile_source, context.params.seed
    )
    sizes = {}
    for (name, network), milliseconds in zip(networks.items(), times, strict=True):
        counts = count(network, example)
        sizes[name] = {
            "accuracy": accuracy(logits[name], test.labels),
            "params_total": counts.params_total,
            "macs": counts.macs_nonzero,
            "latency_ms_p50": milliseconds,
            "confusion": confusion(logits[name], test.labels, number),
        }
    config = context.params.modularizations[context.name]
    return {
        **sizes,
        "architecture": source.info.architecture,
        "method": config.method,
        "label": find(config.method, MODULES).label,
        "classes": list(made.classes),
        "modules": {name: asdict(size) for name, size in found.sizes.items()},
        "kernels": sum(size.kernels for size in found.sizes.values()) / number,
        "jaccard": found.in_common,
        "num_test": len(test),
        "settings": asdict(getattr(config, config.method)),
        "conditions": conditions,
    }


def _mark(context: StageContext) -> None:
    """The small file that changes with what is published."""
    folder = context.folder(context.stage)
    read = (f"{PACK}/modules.json", "source.json", f"{IMAGES}/{ABOUT}")
    pack, source, about = (read_json(folder / name) for name in read)
    content = {"pack_sha256": pack["sha256"], "source_sha256": source["sha256"], "bound_to": pack["source_sha256"]}
    content |= {"images_sha256": about["dataset_sha256"]} if about["own"] else {}
    write_json(context.root / "artifacts" / MODULARIZED / f"{context.name}.json", content)


if __name__ == "__main__":
    main(modularize, __doc__)
