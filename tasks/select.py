"""Which of several trained networks to reuse, before anything is trained: a table, a page, and a source."""

from __future__ import annotations

from typing import Any

import torch

from seam.data.images import LabelledImages, images_of
from seam.data.lazy import select as part
from seam.data.prepared import ImageData, load_prepared
from seam.data.problems import TargetProblem
from seam.door.arguments import Wanted
from seam.door.given import Labelled
from seam.door.select import Asked
from seam.errors import ConfigError
from seam.files import write_json, write_text
from seam.runtime import start
from tasks.inputs.candidates import Found, Shelf
from tasks.inputs.images import project_images
from tasks.inputs.own_images import own_images
from tasks.inputs.splits import unseen_split
from tasks.project.data_guard import digest_of_data
from tasks.project.params import round_trip
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.report.selection import cost_plot, render_selection_report

KEPT = ".seam/select"
"""Folder of the project with what was computed of networks; it may be removed at any time."""


def select(context: StageContext) -> StageResult:
    """Rank the candidates, and publish the ranking and the winner.

    Writes metrics.json, source.yaml (the parameters with which `seam transfer`, and `seam run` where its
    classes are those of the data, take the winner as their source), cost.svg and report.html. Only
    training images are looked at.

    Raises:
        ConfigError: no such problem, or a folder of candidates without networks.
        DataError: images of its own that are not what they should be, or too few.
        SourceError: none of the candidates can be judged.
    """
    params, config = context.params, context.params.selections[context.name]
    own = own_images(context, config.data, "data")
    data = load_prepared((own or project_images(context)).dataset)
    height, width, _ = data.image_shape
    start(params.runtime, height * width)
    shelf = Shelf.of(context.root, config, data)
    candidates, asked = shelf.candidates(), _asked(context, data)
    total = 100 * len(candidates)
    with collect_warnings(context) as doubts:
        made = asked.selection(
            {name: candidate for name, (candidate, _) in candidates.items()},
            lambda done, text: context.progress(done / total, text),
        )
    found = {name: one for name, (_, one) in candidates.items()}
    files = {path: digest for one in found.values() for path, digest in one.files.items()}
    files |= {own.config.path: digest_of_data(context.root / own.config.path)} if own else {}
    fetched = {one.checkpoint: one.fetched for one in found.values() if one.fetched is not None}
    metrics = {**made.to_dict(), "problem": config.problem, "files": files, "fetched": fetched, "warnings": doubts}
    drawn = cost_plot(metrics)
    page = render_selection_report(context, metrics, drawn)
    with context.publish() as out:
        with (out / "source.yaml").open("w") as file:
            round_trip().dump(as_source(found[made.best.name], data, own is not None), file)
        write_json(out / "metrics.json", metrics)
        write_text(out / "cost.svg", drawn.svg)
        write_text(out / "report.html", page)
    judged = [choice for choice in made.choices if choice.estimates is not None]
    probe = judged[0].estimates["probe"] if judged[0].estimates else None
    counts = {"candidates": len(candidates), "judged": len(judged)}
    return context.result({**counts, "best": made.best.name, "probe": probe, "sure": made.first_beats_second})


def _asked(context: StageContext, data: ImageData) -> Asked:
    """The training images of the problem, or of all classes; as many of both sides where it is one class."""
    params, config = context.params, context.params.selections[context.name]
    images = images_of(data, "train", unseen_split(params, data, seen=True).train)
    classes, binary = data.classes, False
    if config.problem is not None:
        problem = TargetProblem.of(config.problem, _problem(context, config.problem), data.classes)
        labels = torch.from_numpy(problem.target_labels(images.labels.numpy()))
        images = LabelledImages(part(images.images, labels >= 0), labels[labels >= 0])
        classes, binary = problem.classes, problem.is_binary
    wanted = Wanted(None, None, None, params.seed, "cpu")
    found = Labelled(images, classes, as_stored=True)
    return Asked(found, config, params.profile_source, wanted, context.root / KEPT, binary)


def _problem(context: StageContext, name: str) -> tuple[str, ...]:
    problems = context.params.problems
    if name not in problems:
        raise ConfigError(
            f"selections.{context.name}.problem: expected one of {', '.join(problems)}, got '{name}'; name a problem."
        )
    return problems[name]


def as_source(best: Found, data: ImageData, own_data: bool) -> dict[str, Any]:
    """Parameters under which a candidate is the source: of the transfers, and of the problems if it has their classes.

    Args:
        best: the candidate, loaded.
        data: what it was chosen for.
        own_data: whether that is another data set than the problems'.
    """

    def given() -> dict[str, Any]:  # lists of their own each time: YAML would write the second as a reference
        named = {"mean": list(best.mean), "std": list(best.std)} if best.mean and best.std else {}
        return {"architecture": best.architecture, "checkpoint": best.checkpoint, **named}

    found: dict[str, Any] = {"transfer": {**given(), "num_classes": best.outputs}}
    if best.outputs == len(data.classes) and not own_data:
        found["prepare_source"] = {**given(), "expected_accuracy": None}
    return found


if __name__ == "__main__":
    main(select, __doc__)
