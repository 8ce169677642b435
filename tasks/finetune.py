"""Fine-tune the re-engineered model, and the original with all its weights as baseline."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tqdm import tqdm

from seam.checkpoint import digest_of
from seam.configs.training import FinetuneConfig
from seam.files import sha256_file, write_csv, write_json
from seam.hardware import in_words
from seam.masks.masks import Masks
from seam.networks.head import Reengineered
from seam.networks.source import Source
from seam.networks.state_dicts import save_weights
from seam.runtime import start
from seam.training.finetune import finetune as finetune_model
from seam.training.loop import Epoch, best_epoch
from seam.training.probe import Chosen, Probe, choose_rate
from tasks.inputs.problem import load_model, problem_images, problem_masks, problem_source
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

_MADE = ("reengineered_finetuned", "standard_finetuned")


def finetune(context: StageContext) -> StageResult:
    """Fine-tune both models under the same settings, the original by the labels alone, and publish them."""
    config, source = context.params.finetune, problem_source(context)
    train, val = problem_images(context, "train"), problem_images(context, "val")
    redraw = config.negatives == "redrawn" and context.target_problem(source.info.classes).is_binary
    spare = problem_images(context, "spare") if redraw else None
    runtime = start(context.params.runtime, source.info.pixels)
    preprocess = source.preprocess()
    inputs = digest_of(asdict(config), context.params.seed, repr(runtime), _inputs(context, source))
    models: dict[str, Reengineered] = {}
    histories: dict[str, list[Epoch]] = {}
    chosen: dict[str, Chosen] = {}
    doubts: list[str] = []
    for name in _MADE:
        masks = problem_masks(context, source).masks if name == "reengineered_finetuned" else None
        model = load_model(context, _start_of(masks, config))
        assert isinstance(model, Reengineered)
        training: dict[str, Any] = {
            "checkpoint": context.work_folder / f"{name}.safetensors",
            "key": digest_of(inputs, name),
            "spare": spare,
            "teacher": source.network,
        }
        task, seed = (model, masks, preprocess, train, val), context.params.seed
        progress = _Progress(context, name)
        with collect_warnings(context) as found, progress.bar:
            choice = choose_rate(*task, _config_of(name, config), runtime, seed, on_probe=progress.on_probe, **training)
            histories[name] = finetune_model(
                *task, choice.config, runtime, seed, on_epoch=progress.on_epoch, **training
            )
        models[name], chosen[name] = model, choice
        doubts += [f"{name}: {text}" for text in found]
    best = {name: best_epoch(history) for name, history in histories.items()}
    with context.publish() as out:
        for name, model in models.items():
            save_weights(model, out / f"{name}.safetensors")
        rows = ({"model": name, **asdict(epoch)} for name, history in histories.items() for epoch in history)
        write_csv(out / "history.csv", ("epoch", "model", "loss", "cross_entropy", "val_accuracy"), rows)
        kept = {name: _kept(best[name], chosen[name]) for name in models}
        write_json(out / "metrics.json", {**kept, "computed_on": in_words(), "warnings": doubts})
    return context.result({f"{name}_val_accuracy": epoch.val_accuracy for name, epoch in best.items()})


def _start_of(masks: Masks | None, config: FinetuneConfig) -> str:
    """The model that a training starts from: one with all its weights where none are removed, or not yet."""
    return "head_only" if masks is None or config.removed_weights == "gradual" else "reengineered"


def _config_of(name: str, config: FinetuneConfig) -> FinetuneConfig:
    """Of the original without a teacher: what the source teaches would bind it to the source and its defects."""
    return replace(config, distill=0.0, features=0.0) if name == "standard_finetuned" else config


def _kept(best: Epoch, chosen: Chosen) -> dict[str, Any]:
    """What metrics.json says of a model."""
    return {
        "epoch": best.epoch,
        "val_accuracy": best.val_accuracy,
        "lr": chosen.config.lr,
        "rates": [asdict(probe) for probe in chosen.probes],
    }


class _Progress:
    """Shows every rate that was tried and every new epoch of the model `name`: progress bar, the run page."""

    def __init__(self, context: StageContext, name: str) -> None:
        config = context.params.finetune
        self._context, self._name, self._each, self._tried = context, name, config.probe_epochs, 0
        self._probing = len(config.rates) * config.probe_epochs if len(config.rates) > 1 else 0
        self._total = self._probing + config.epochs
        self.bar = tqdm(total=self._total, desc=f"{name} {context.name}", unit="epoch", disable=None)

    def on_probe(self, probe: Probe) -> None:
        loss = "not finite" if probe.val_cross_entropy is None else f"{probe.val_cross_entropy:.3f}"
        self._tried += 1
        self._show(self._each * self._tried, f"rate {probe.lr:g}, val cross-entropy {loss}")

    def on_epoch(self, epoch: Epoch) -> None:
        self.bar.set_postfix(loss=f"{epoch.loss:.3f}", val=f"{epoch.val_accuracy:.3f}")
        self._show(self._probing + epoch.epoch, f"epoch {epoch.epoch}, val accuracy {epoch.val_accuracy:.3f}")

    def _show(self, done: int, text: str) -> None:
        self.bar.update(done - self.bar.n)
        number = _MADE.index(self._name)
        self._context.progress((number + done / self._total) / len(_MADE), f"{self._name}, {text}")


def _inputs(context: StageContext, source: Source) -> list[str]:
    """Hashes of everything that is read."""
    images = (
        context.artifact("validate_data", "dataset.safetensors"),
        context.artifact("split_dataset", "splits.safetensors"),
    )
    searched = (context.artifact("search", f"{n}.safetensors") for n in ("mask", "head", "head_only", "norms"))
    return [*map(sha256_file, images), source.info.sha256, *map(sha256_file, searched)]


if __name__ == "__main__":
    main(finetune, __doc__)
