"""The steps of a re-engineering, from what is asked for to the result."""

from __future__ import annotations

import copy
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seam.checkpoint import digest_of, fingerprint
from seam.compaction import ENGINE_BLOCK, compact
from seam.configs.inference import ProfileConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.door.asked import Images, doubt_source
from seam.door.progress import Shown
from seam.door.report import Report, Size
from seam.door.times import measured, time_table
from seam.errors import NoChannelsError, SearchError, SuspectResultWarning
from seam.hardware import describe
from seam.masks.masks import apply_masks
from seam.measures.macs import count, weight_macs
from seam.networks.head import Reengineered, SourceOnProblem, TargetHead
from seam.networks.norms import put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.problem import SearchProblem
from seam.search.result import SearchResult
from seam.search.run import search
from seam.training.finetune import finetune
from seam.training.probe import choose_rate

WEIGHTS = SearchConfig(target=0.2)
"""Where no channels can go: single weights."""
_UNITS = {"weights": "weights", "macs": "multiply-adds", "milliseconds": "milliseconds"}
_MOST = 0.97
"""Share of the costs beyond which a target is not raised."""


@dataclass(frozen=True)
class Small:
    """What is needed of a network for some of its classes."""

    network: nn.Module
    """Smaller, for use: images as the given network takes them to a logit a class; eval mode, on the CPU."""
    masks: dict[str, Tensor]
    """Parameter of the given network -> which of its weights are kept."""
    head: TargetHead
    """From the given network's outputs to the classes; a part of `network`."""
    classes: tuple[str, ...]
    """Of `network`, in the order of its logits; "other" for the rest, where one class was asked for."""
    report: Report
    preprocess: nn.Module
    """uint8 NHWC images to what `network` takes; the identity where images came as floats."""
    example: Tensor
    """Zeros of the shape (1, channels, height, width) of one image as `network` takes it."""


@dataclass(frozen=True)
class Work:
    """One call, checked: its parts, and the steps from them to the result."""

    source: nn.Module
    images: Images
    problem: TargetProblem
    config: SearchConfig
    training: FinetuneConfig
    runtime: Runtime
    seed: int
    folder: Path | None
    shown: Shown
    as_near: bool = False
    """Whether, where no layout of the channels keeps to the target, it is one of multiply-adds, and
    raised until one does, with a doubt."""

    def done(self) -> Small:
        """All steps."""
        train, spare, val = self._rows()
        found, config = self._searched(train, spare, val)
        model = self._start(found)
        self._train(model, found, train, spare, val)
        if self.training.removed_weights == "gradual":  # as many, others perhaps
            weights = model.cpu().network.get_parameter
            found = replace(found, masks={name: weights(name).detach() != 0 for name in found.masks})
        return self._result(model.cpu(), found, config, train, val)

    def _start(self, found: SearchResult) -> Reengineered:
        """What the training starts from: with all its weights where they leave one by one."""
        network = copy.deepcopy(self.source)
        if self.training.removed_weights == "gradual":
            return Reengineered(network, copy.deepcopy(found.head_only))
        apply_masks(network, found.masks)
        put_norm_tensors(network, found.norms)
        return Reengineered(network, copy.deepcopy(found.head))

    def _rows(self) -> tuple[LabelledImages, LabelledImages | None, LabelledImages]:
        """Train, further negatives of a binary problem, and val, with target labels."""
        labels = {name: getattr(self.images, name).data.labels.numpy() for name in ("train", "val")}
        every = {name: torch.arange(len(of)).numpy() for name, of in labels.items()}
        train, spare = self.problem.training_rows(labels["train"], every["train"], self.seed)
        val = self.problem.select(labels["val"], every["val"], self.seed)

        def of(name: str, rows: Any) -> LabelledImages:
            some = getattr(self.images, name).rows(torch.from_numpy(rows))
            return LabelledImages(some.images, torch.from_numpy(self.problem.target_labels(some.labels.numpy())))

        return of("train", train), of("train", spare) if len(spare) else None, of("val", val)

    def _searched(
        self, train: LabelledImages, spare: LabelledImages | None, val: LabelledImages
    ) -> tuple[SearchResult, SearchConfig]:
        """What was found, and by which numbers."""
        here = val.to(self.runtime.device)
        original = SourceOnProblem(self.source, self.problem.target_indices, len(self.problem.source_classes))
        logits = predict(original.to(self.runtime.device), here, self.images.preprocess.to(self.runtime.device))
        self.source.cpu()
        preprocess = self.images.preprocess.cpu()
        known = accuracy(logits, here.labels)
        doubt_source(known, val.labels)
        problem = SearchProblem(self.source, preprocess, train, val, self.problem.num_classes, known, spare=spare)
        try:
            return self._search(problem, self.config)
        except NoChannelsError as e:
            text = f"{e.what}: single weights were removed instead, which only engines that skip zeros gain from"
            warnings.warn(SuspectResultWarning(text), stacklevel=2)
        weights = replace(WEIGHTS, augment=self.config.augment)
        return self._search(problem, weights)

    def _search(self, problem: SearchProblem, config: SearchConfig) -> tuple[SearchResult, SearchConfig]:
        macs = None if config.cost == "weights" else weight_macs(self.source, self.images.example)
        times = None
        if config.cost == "milliseconds":
            profile = ProfileConfig()
            example, path, block = self.images.example, self._path("times.json"), config.channel_block
            times = time_table(self.source, example, block, profile, self.seed, path, self.shown)
        problem = replace(problem, weight_macs=macs, times=times)
        wanted = config
        while True:
            try:
                found = self._run(problem, config)
                break
            except SearchError as e:
                if e.hint != "target" or not self.as_near or config.target > _MOST:
                    raise
            if config.cost == "milliseconds":
                config = replace(config, cost="macs")
            else:
                config = replace(config, target=(1 + config.target) / 2)
        if config != wanted:
            text = (
                f"no layout of the channels takes {wanted.target:.0%} of the {_UNITS[wanted.cost]}, as layers are few"
            )
            kept = f"up to {config.target:.0%} of the {_UNITS[config.cost]} are kept instead"
            warnings.warn(SuspectResultWarning(f"{text} or narrow: {kept}"), stacklevel=2)
        return found, config

    def _run(self, problem: SearchProblem, config: SearchConfig) -> SearchResult:
        with self.shown.bar("search", config.rounds, "round") as on_step:
            return search(
                problem,
                config,
                self.runtime,
                self.seed,
                self._path("search.safetensors"),
                lambda r: on_step(r.round + 1, f"val {r.val_accuracy:.3f}"),
                self.training,
            )

    def _train(
        self,
        model: Reengineered,
        found: SearchResult,
        train: LabelledImages,
        spare: LabelledImages | None,
        val: LabelledImages,
    ) -> None:
        config = self.training
        redrawn = spare if config.negatives == "redrawn" else None
        content = [fingerprint(d.images, d.labels) for d in (train, val, *([redrawn] if redrawn else []))]
        state = fingerprint(self.source.state_dict(), found.masks, found.norms, model.head.state_dict())
        key = digest_of(asdict(config), self.seed, repr(self.runtime), state, *content)
        path = self._path("training.safetensors")
        resume: dict[str, Any] = {"checkpoint": path, "key": key, "spare": redrawn, "teacher": self.source}
        task = (model, found.masks, self.images.preprocess, train, val)
        with self.shown.bar("train", config.epochs, "epoch") as on_step:
            chosen = choose_rate(*task, config, self.runtime, self.seed, **resume).config
            finetune(
                *task,
                chosen,
                self.runtime,
                self.seed,
                on_epoch=lambda e: on_step(e.epoch, f"val {e.val_accuracy:.3f}"),
                **resume,
            )
        self.source.cpu()

    def _result(
        self, model: Reengineered, found: SearchResult, config: SearchConfig, train: LabelledImages, val: LabelledImages
    ) -> Small:
        example = self.images.example
        smaller = compact(model, example, ENGINE_BLOCK).module
        preprocess = self.images.preprocess.cpu()
        before, after = count(self.source, example), count(smaller, example)
        ms, conditions = measured(self.source, smaller, example, ProfileConfig(), self.seed)
        right = accuracy(predict(smaller, val, preprocess), val.labels)
        report = Report(
            method=_method(found, config),
            classes=self.problem.classes,
            source=Size(
                accuracy=found.source_val_accuracy,
                params_total=before.params_total,
                params_nonzero=before.params_nonzero,
                macs=before.macs_nonzero,
                latency_ms_p50=ms[0],
            ),
            result=Size(
                accuracy=right,
                params_total=after.params_total,
                params_nonzero=after.params_nonzero,
                macs=after.macs_nonzero,
                latency_ms_p50=ms[1],
            ),
            images={"train": len(train), "val": len(val)},
            normalisation=self.images.normalisation,
            seed=self.seed,
            seconds=0.0,
            settings={"search": asdict(config), "training": asdict(self.training)},
            conditions={**conditions, "torch": torch.__version__, "machine": describe()},
            doubts=(),
        )
        masks = {name: mask.cpu() for name, mask in found.masks.items()}
        zeros = torch.zeros_like(example[:1])
        return Small(smaller, masks, model.head, self.problem.classes, report, preprocess, zeros)

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name


def _method(found: SearchResult, config: SearchConfig) -> str:
    """What was removed, and who proposed it."""
    if found.chosen is None:
        return f"single weights, {100 * found.best.density:.0f}% kept"
    share = 100 * found.chosen.cost / found.chosen.cost_of_all
    return f"whole channels, {share:.0f}% of the {_UNITS[config.cost]} kept, layout proposed by {found.chosen.rule}"
