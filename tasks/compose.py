"""Modules of one or several networks put together, without training; chosen on val, measured on test once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.door.compose import Composition
from seam.door.compose import compose as put_together
from seam.door.given import Labelled
from seam.door.times import measured
from seam.errors import ConfigError
from seam.files import sha256_file, write_json, write_text
from seam.measures.macs import count
from seam.measures.modules import Found, f1_by_class
from seam.measures.shipped import Claim, ship
from seam.networks.predict import accuracy, predict
from tasks.inputs.parts import Part, parts, require_classes
from tasks.inputs.pooled import pooled
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.report.composition import confusion_plots, render_composition_report
from tasks.report.confusion import confusion


def compose(context: StageContext) -> StageResult:
    """Put modules together, and publish the network with its figures beside those of its sources.

    Writes network.onnx, metrics.json, before.svg, after.svg and report.html.

    Raises:
        ConfigError: a class has no module or no images here, or is named twice; fewer than two.
        DataError: the modules take different images, or others than the data set has.
    """
    made_of = parts(context)
    images = pooled(context, made_of)
    wanted = _wanted(context, made_of, images.classes)
    context.progress(0.1, "choose modules on val")
    with collect_warnings(context) as doubts:
        val = Labelled(images.val, images.classes, as_stored=True)
        made = put_together([part.modules for part in made_of], wanted, train=val)
    context.progress(0.6, "measure on test")
    inside = _among(images.test, wanted, images.classes)
    metrics = {
        **_about(made, made_of),
        **_measured(context, made, made_of, inside),
        "num_val": len(images.val),
        "val_from": images.val_from,
        "num_test": len(inside),
        "files": {path: digest for part in made_of for path, digest in part.files.items()},
        "warnings": list(dict.fromkeys([*(w for part in made_of for w in part.source.info.warnings), *doubts])),
    }
    drawn = confusion_plots(metrics)
    with context.publish() as out:
        ship(made.network, made.example, out / "network.onnx", Claim(metrics["composed"]))
        metrics["hashes"]["network_sha256"] = sha256_file(out / "network.onnx")
        write_json(out / "metrics.json", metrics)
        for plot in drawn:
            write_text(out / f"{plot.name}.svg", plot.svg)
        write_text(out / "report.html", render_composition_report(context, metrics, drawn))
    after = metrics["composed"]
    return context.result({"modules": len(wanted), "accuracy": after["accuracy"], "macs": after["macs_nonzero"]})


def _wanted(context: StageContext, made_of: Sequence[Part], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of the new network."""
    asked, where = context.params.compositions[context.name].classes, f"compositions.{context.name}.classes"
    there = tuple(dict.fromkeys(of for part in made_of for of in part.modules.classes))
    wanted = there if asked is None else asked
    for known, whose in (
        (there, "that there is a module for"),
        (classes, "of the data, to choose and measure on"),
    ):
        require_classes(wanted, known, where, f"classes {whose}")
    if twice := [name for name in dict.fromkeys(wanted) if wanted.count(name) > 1]:
        raise ConfigError(f"{where}: expected different classes, got '{twice[0]}' twice; leave one out.")
    if len(wanted) < 2:
        raise ConfigError(f"{where}: expected two classes or more to tell apart, got {', '.join(wanted) or 'none'}.")
    return wanted


def _among(images: LabelledImages, wanted: Sequence[str], classes: Sequence[str]) -> LabelledImages:
    """Those of the wanted classes, labelled in their order."""
    order = torch.tensor([wanted.index(name) if name in wanted else -1 for name in classes])
    labels = order[images.labels]
    rows = (labels >= 0).nonzero()[:, 0]
    return LabelledImages(select(images.images, rows), labels[rows])


def _about(made: Composition, made_of: Sequence[Part]) -> dict[str, Any]:
    """What was done, and what it is made of."""
    used = set(made.report.chosen.values())
    network: Any = made.network
    return {
        "of": [part.name for part in made_of],
        "classes": list(made.classes),
        "chosen": dict(made.report.chosen),
        "f1_on_val": {of: dict(by_source) for of, by_source in made.report.f1.items()},
        "fitted_on": made.report.fitted_on,
        "mixed": {name: value.tolist() for name, value in network.mixed.state_dict().items()},
        "hashes": {f"{part.name}.{k}": v for part in made_of if part.name in used for k, v in part.hashes.items()},
    }


@torch.no_grad()
def _measured(
    context: StageContext, made: Composition, made_of: Sequence[Part], test: LabelledImages
) -> dict[str, Any]:
    """Figures of the composed network, of each source, and of the sources together, on test."""
    example, params = made.example.expand(2, -1, -1, -1), context.params
    each, times = dict[str, Any](), list[float]()
    expert = torch.zeros(len(test), len(made.classes))
    for number, part in enumerate(made_of):
        context.progress(0.6 + 0.3 * number / len(made_of), f"measure {part.name}")
        own, known = _restricted(part, made, test)
        mine = torch.tensor([made.report.chosen[name] == part.name for name in made.classes])[test.labels]
        expert[mine] = own[mine]
        (milliseconds, again), conditions = measured(
            part.source.network, made.network, example, params.profile_source, params.seed
        )
        times.append(again)
        rows = known[test.labels]
        each[part.name] = {
            "classes": [name for name, there in zip(made.classes, known.tolist(), strict=True) if there],
            "accuracy": accuracy(own[rows], test.labels[rows]) if bool(rows.any()) else None,
            "f1": {n: f.f1 for (n, f), k in zip(_f1(own, made, test), known.tolist(), strict=True) if k},
            **asdict(count(part.source.network, made.example)),
            "latency_ms_p50": milliseconds,
        }
    return {
        "composed": {
            **_figures(predict(made.network, test, made.preprocess), made, test),
            **asdict(count(made.network, made.example)),
            "latency_ms_p50": min(times),
        },
        "sources": _figures(expert, made, test),
        "best_source": _best(each, made.classes),
        "each": each,
        "conditions": conditions,
    }


def _best(each: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any] | None:
    """Of the sources that have all of the classes, the one that is right most often; None where none has."""
    whole = {name: one for name, one in each.items() if len(one["classes"]) == len(classes)}
    if not whole:
        return None
    name = max(whole, key=lambda known: whole[known]["accuracy"])
    return {"name": name, **whole[name]}


def _restricted(part: Part, made: Composition, test: LabelledImages) -> tuple[Tensor, Tensor]:
    """The source's own logits of the composed classes, and which of these it has; others can never be the largest."""
    outputs = part.source.info.classes or part.modules.classes
    logits = predict(part.source.network, test, made.preprocess)
    known = torch.tensor([name in outputs for name in made.classes])
    own = torch.full((len(test), len(made.classes)), -torch.inf)
    own[:, known] = logits[:, [outputs.index(name) for name in made.classes if name in outputs]]
    return own, known


def _f1(logits: Tensor, made: Composition, test: LabelledImages) -> list[tuple[str, Found]]:
    return list(f1_by_class(logits, test.labels, made.classes).items())


def _figures(logits: Tensor, made: Composition, test: LabelledImages) -> dict[str, Any]:
    return {
        "accuracy": accuracy(logits, test.labels),
        "f1": {name: one.f1 for name, one in _f1(logits, made, test)},
        "confusion": confusion(logits, test.labels, len(made.classes)),
    }


if __name__ == "__main__":
    main(compose, __doc__)
