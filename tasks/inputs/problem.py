"""The models and images of a problem, as the stages after the search read them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from seam.compaction import ENGINE_BLOCK, Compacted, compact
from seam.data.images import LabelledImages, rows_of
from seam.data.prepared import Split, load_prepared
from seam.data.splits import val_split
from seam.masks.masks import apply_masks
from seam.masks.pack import MaskPack, load_mask_pack
from seam.networks.head import Reengineered, SourceOnProblem, TargetHead
from seam.networks.norms import load_norms
from seam.networks.source import Source, load_source
from seam.networks.state_dicts import load_weights
from tasks.inputs.splits import read_split
from tasks.project.measured import MEASURED, SAVED
from tasks.project.stage import StageContext


def problem_source(context: StageContext) -> Source:
    """The prepared source; its network is the caller's own copy."""
    return load_source(context.folder("prepare_source"))


def problem_masks(context: StageContext, source: Source) -> MaskPack:
    """The problem's mask pack, checked to belong to `source`."""
    return load_mask_pack(context.artifact("search", "mask.safetensors"), source.info.sha256)


def problem_images(context: StageContext, split: Literal["train", "spare", "val", "test"]) -> LabelledImages:
    """Images (uint8 NHWC) and target labels of one split of the problem, on the CPU; see split_dataset."""
    data = load_prepared(context.artifact("validate_data", "dataset.safetensors"))
    rows, val_from = read_split(context.artifact("split_dataset", "splits.safetensors"))
    lies_in: dict[str, Split] = {"val": val_split(val_from), "test": "test"}
    images = rows_of(data, lies_in.get(split, "train"), rows[split])
    return LabelledImages(images, torch.from_numpy(rows[f"y_{split}"]))


def load_model(context: StageContext, name: str) -> nn.Module:
    """One of `SAVED`: normalised images to target logits, eval mode, on the CPU, gradients off."""
    source, row = problem_source(context), MEASURED[name]
    assert row.weights is not None, f"{name} is not saved"
    problem = context.target_problem(source.info.classes)
    if row.kind == "original":
        return (
            SourceOnProblem(source.network, problem.target_indices, len(source.info.classes))
            .requires_grad_(False)
            .eval()
        )
    model = Reengineered(source.network, TargetHead(len(source.info.classes), problem.num_classes))
    if row.weights[0] == "finetune":
        load_weights(model, context.artifact(*row.weights))
    else:
        load_weights(model.head, context.artifact(*row.weights))
        if row.has_searched_mask:
            apply_masks(model.network, problem_masks(context, source).masks)
            load_norms(model.network, context.artifact("search", "norms.safetensors"))
    return model.requires_grad_(False).eval()


def load_compacted(context: StageContext, name: str) -> Compacted:
    """One of `SAVED` without the channels that are without effect, in the blocks that engines compute in."""
    return compact(load_model(context, name), problem_source(context).example(), ENGINE_BLOCK)


def load_models(context: StageContext) -> dict[str, nn.Module]:
    """All of `SAVED` by name, each with its own weights."""
    return {name: load_model(context, name) for name in SAVED}
