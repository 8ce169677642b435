"""Accuracy, weights and multiply-adds on the test split.

The original, the re-engineered models and honest baselines.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from seam.checkpoint import digest_of, fingerprint
from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.errors import SuspectResultWarning
from seam.files import write_json
from seam.hardware import in_words
from seam.masks.masks import Masks, apply_masks, density
from seam.masks.unsearched import magnitude_mask, random_mask, taylor_mask
from seam.measures.macs import Counts, count
from seam.measures.restricted import best_threshold, restricted_labels, target_log_odds
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead, fit_head
from seam.networks.norms import norm_parameters
from seam.networks.plain import plain
from seam.networks.predict import predict
from seam.networks.scores import give_scores
from seam.networks.source import Preprocess, Source
from seam.runtime import Runtime, start
from seam.training.finetune import adapt, train_from_scratch
from tasks.inputs.problem import load_models, problem_images, problem_masks, problem_source
from tasks.project.measured import MEASURED, SAVED, UNSEARCHED
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

_STEPS = len(MEASURED)


@dataclass(frozen=True)
class Images:
    """The problem's images, on the device."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages


def evaluate(context: StageContext) -> StageResult:
    """Measure every model on the test split, in float32, and publish metrics.json."""
    source = problem_source(context)
    problem = context.target_problem(source.info.classes)
    runtime = start(context.params.runtime, source.info.pixels)
    preprocess = source.preprocess().to(runtime.device)
    images = Images(*(problem_images(context, split).to(runtime.device) for split in ("train", "val", "test")))
    val, test = images.val, images.test
    models = load_models(context)
    networks = {name: _network(model) for name, model in models.items()}
    entries: dict[str, dict[str, Any]] = {}
    with collect_warnings(context) as doubts:
        for i, (name, model) in enumerate(
            tqdm(models.items(), desc=f"evaluate {problem.name}", unit="model", disable=None)
        ):
            context.progress(i / _STEPS, name)
            counts = count(networks[name], source.example())
            predicted = predict(model.to(runtime.device), test, preprocess).argmax(1)
            entries[name] = _entry(name, predicted, test.labels, problem, counts)
        network = networks["source"]
        context.progress(len(models) / _STEPS, "restricted")
        val_logits, test_logits = predict(network, val, preprocess), predict(network, test, preprocess)
        threshold, predicted = _restricted(val_logits, val.labels, test_logits, problem)
        restricted = _entry("restricted", predicted, test.labels, problem, count(network.cpu(), source.example()))
        baselines = {"head_only": entries.pop("head_only"), "restricted": {**restricted, "threshold": threshold}}
        head_only = models["head_only"].head
        assert isinstance(head_only, TargetHead)
        baselines |= _compare_masks(context, source, head_only, images, preprocess, runtime)
        if context.params.evaluate.retrain_epochs:
            context.progress((_STEPS - 1) / _STEPS, "retrained")
            baselines["retrained"] = _retrain(context, source, images, preprocess, runtime)
    with context.publish() as out:
        about = {"computed_on": in_words(), "warnings": list(dict.fromkeys(doubts))}
        write_json(out / "metrics.json", {**entries, "baselines": baselines, **about})
    original, reengineered = entries["source"], entries["reengineered"]
    return context.result(
        {
            "source_accuracy": original["accuracy"],
            "reengineered_accuracy": reengineered["accuracy"],
            "reengineered_finetuned_accuracy": entries["reengineered_finetuned"]["accuracy"],
            "density": reengineered["density"],
            "macs_share": reengineered["macs_nonzero"] / original["macs_dense"],
        }
    )


def _network(model: nn.Module) -> nn.Module:
    """The part that was trained on the source's classes; a target head adds a few weights, which are not counted."""
    network = model.network
    assert isinstance(network, nn.Module)
    return network


def _entry(name: str, predicted: Tensor, labels: Tensor, problem: TargetProblem, counts: Counts) -> dict[str, Any]:
    """One model's measurements.

    One that is no better than always guessing the commonest class is doubtful, unless it is of
    `UNSEARCHED`.
    """
    correct = predicted == labels
    accuracy = float(correct.double().mean())
    chance = int(labels.bincount().max()) / len(labels)
    if accuracy <= chance and name not in UNSEARCHED:
        text = (
            f"{name}: test accuracy {accuracy:.3f} is no better than always guessing the commonest class"
            f" ({chance:.3f})."
        )
        warnings.warn(text, SuspectResultWarning, stacklevel=2)
    per_class = {c: _mean_or_none(correct[labels == label]) for label, c in enumerate(problem.classes)}
    return {"accuracy": accuracy, **asdict(counts), "accuracy_per_class": per_class, "num_images": len(labels)}


def _mean_or_none(correct: Tensor) -> float | None:
    return float(correct.double().mean()) if len(correct) else None


def _compare_masks(
    context: StageContext,
    source: Source,
    head_only: TargetHead,
    images: Images,
    preprocess: Preprocess,
    runtime: Runtime,
) -> dict[str, dict[str, Any]]:
    """All weights, the searched masks and `UNSEARCHED`, each with a head fitted and adapted in the same way.

    One copy of the source at a time.
    """
    params, original = context.params, source.network.to(runtime.device)
    problem = context.target_problem(source.info.classes)
    found: dict[str, dict[str, Any]] = {}
    masks = _masks(original, problem_masks(context, source).masks, head_only, preprocess, images.train, params.seed)
    adapts = (
        bool(norm_parameters(original)) and params.search.norm_layers == "learn" and params.evaluate.adapt_epochs > 0
    )
    for i, (name, mask) in enumerate(masks, len(SAVED) + 1):
        if name == "adapted" and not adapts:
            continue
        context.progress(i / _STEPS, name)
        network = copy.deepcopy(original)
        apply_masks(network, mask)
        head = fit_head(predict(network, images.train, preprocess), images.train.labels, problem.num_classes)
        model = Reengineered(network, head)
        if adapts:
            adapt(
                model,
                preprocess,
                images.train,
                images.val,
                params.evaluate.adapt_epochs,
                params.search,
                runtime,
                params.seed,
            )
        predicted = predict(model, images.test, preprocess).argmax(1)
        found[name] = _entry(name, predicted, images.test.labels, problem, count(network.cpu(), source.example()))
    return found


def _masks(
    network: nn.Module, searched: Masks, head_only: TargetHead, preprocess: Preprocess, train: LabelledImages, seed: int
) -> Iterator[tuple[str, Masks]]:
    """No mask, the searched masks, then `UNSEARCHED` at their density; each is made when it is asked for."""
    share = density(searched)
    yield "adapted", {}
    yield "reengineered_refit", searched
    yield "random_mask", random_mask(network, share, seed)
    yield "magnitude_mask", magnitude_mask(network, share)
    yield "taylor_mask", taylor_mask(network, head_only, preprocess, train, share)


def _retrain(
    context: StageContext, source: Source, images: Images, preprocess: Preprocess, runtime: Runtime
) -> dict[str, Any]:
    """A network of the source's architecture, trained from scratch on the problem's images alone.

    Continues where it was killed.
    """
    params, problem = context.params, context.target_problem(source.info.classes)
    config = replace(params.prepare_source, epochs=params.evaluate.retrain_epochs)
    torch.manual_seed(params.seed)
    network = build(source.info.architecture, problem.num_classes).eval()
    give_scores(network, torch.cat([source.example()] * 2), problem.num_classes)
    content = fingerprint(images.train.images, images.train.labels, images.val.images, images.val.labels)
    normalised = (source.info.mean, source.info.std)
    key = digest_of(asdict(config), params.seed, repr(runtime), source.info.architecture, normalised, content)
    checkpoint = context.work_folder / "retrained.safetensors"
    train_from_scratch(
        network, preprocess, images.train, images.val, config, runtime, params.seed, checkpoint=checkpoint, key=key
    )
    predicted = predict(network, images.test, preprocess).argmax(1)
    plain(network.cpu(), source.example())
    return _entry("retrained", predicted, images.test.labels, problem, count(network, source.example()))


def _restricted(
    val_logits: Tensor, val_labels: Tensor, test_logits: Tensor, problem: TargetProblem
) -> tuple[float | None, Tensor]:
    """Test labels of the original told the target classes; for one class, with the log-odds threshold chosen on val."""
    if not problem.is_binary:
        return None, restricted_labels(test_logits, problem.target_indices)
    (target,) = problem.target_indices
    threshold = best_threshold(target_log_odds(val_logits, target).cpu(), (val_labels == 0).cpu())
    return threshold, (target_log_odds(test_logits, target).double() < threshold).long()


if __name__ == "__main__":
    main(evaluate, __doc__)
