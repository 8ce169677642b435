"""Fine-tune the re-engineered model, and the original with all its weights as baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from seam.checkpoint import digest_of
from seam.files import sha256_file, write_csv, write_json
from seam.networks.head import Reengineered
from seam.networks.source import Source
from seam.networks.state_dicts import save_weights
from seam.runtime import start
from seam.training.finetune import finetune as finetune_model
from seam.training.loop import Epoch
from tasks.inputs.problem import load_model, problem_images, problem_masks, problem_source
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

_STARTS = {"reengineered_finetuned": "reengineered", "standard_finetuned": "head_only"}
"""Model made here -> model it starts from."""


def finetune(context: StageContext) -> StageResult:
    """Fine-tune both models under the same settings and publish them."""
    config, source = context.params.finetune, problem_source(context)
    train, val = problem_images(context, "train"), problem_images(context, "val")
    redraw = config.negatives == "redrawn" and context.target_problem(source.info.classes).is_binary
    spare = problem_images(context, "spare") if redraw else None
    runtime = start(context.params.runtime, source.info.pixels)
    preprocess = source.preprocess()
    inputs = digest_of(asdict(config), context.params.seed, repr(runtime), _inputs(context, source))
    models: dict[str, Reengineered] = {}
    histories: dict[str, list[Epoch]] = {}
    doubts: list[str] = []
    for name, origin in _STARTS.items():
        model = load_model(context, origin)
        assert isinstance(model, Reengineered)
        masks = problem_masks(context, source).masks if origin == "reengineered" else None
        bar = tqdm(total=config.epochs, desc=f"{name} {context.name}", unit="epoch", disable=None)
        with collect_warnings(context) as found, bar:
            histories[name] = finetune_model(
                model,
                masks,
                preprocess,
                train,
                val,
                config,
                runtime,
                context.params.seed,
                checkpoint=context.work_folder / f"{name}.safetensors",
                key=digest_of(inputs, name),
                on_epoch=_observer(context, bar, name),
                spare=spare,
                teacher=source.network,
            )
        models[name] = model
        doubts += [f"{name}: {text}" for text in found]
    best = {name: max(history, key=lambda epoch: epoch.val_accuracy) for name, history in histories.items()}
    with context.publish() as out:
        for name, model in models.items():
            save_weights(model, out / f"{name}.safetensors")
        rows = ({"model": name, **asdict(epoch)} for name, history in histories.items() for epoch in history)
        write_csv(out / "history.csv", ("epoch", "model", "loss", "cross_entropy", "val_accuracy"), rows)
        kept = {name: {"epoch": epoch.epoch, "val_accuracy": epoch.val_accuracy} for name, epoch in best.items()}
        write_json(out / "metrics.json", {**kept, "warnings": doubts})
    return context.result({f"{name}_val_accuracy": epoch.val_accuracy for name, epoch in best.items()})


def _observer(context: StageContext, bar: Any, name: str) -> Callable[[Epoch], None]:
    """Shows every new epoch of the model `name`: progress bar, the run page."""
    number, epochs = list(_STARTS).index(name), context.params.finetune.epochs

    def on_epoch(epoch: Epoch) -> None:
        bar.update(epoch.epoch - bar.n)
        bar.set_postfix(loss=f"{epoch.loss:.3f}", val=f"{epoch.val_accuracy:.3f}")
        context.progress(
            (number + epoch.epoch / epochs) / len(_STARTS),
            f"{name}, epoch {epoch.epoch}, val accuracy {epoch.val_accuracy:.3f}",
        )

    return on_epoch


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
