"""The trained network that is transferred: fetched, loaded safely, tried on an image of the target, published with its hash."""

from __future__ import annotations

import torch
from torch import nn

from seam.errors import SourceError
from seam.files import sha256_file, write_json
from seam.models import build
from seam.source import Preprocess, load_tensors, save_weights
from tasks.fetch_checkpoint import fetch_checkpoint, files_of
from tasks.stage import StageContext, StageResult, main
from tasks.transfer_files import target_data


def fetch_source(context: StageContext) -> StageResult:
    """Write source.safetensors and source.json (architecture, normalisation, hash, where it came from).

    Raises:
        SourceError: the checkpoint cannot be had, is no state dict, does not fit the architecture and the number of classes, or
            the network does not take the target's images.
        ConfigError: there is no such architecture.
    """
    config = context.params.transfer
    network = build(config.architecture, config.num_classes)
    context.progress(0.0, f"checkpoint {config.checkpoint}")
    try:
        found = fetch_checkpoint(config.checkpoint, config.architecture, context.root)
    except SourceError as e:
        raise SourceError(str(e).replace("prepare_source.", "transfer.")) from e
    load_tensors(network, found.tensors, found.fetched_from or str(context.root / config.checkpoint))
    mean, std = _three(config.mean), _three(config.std)
    _check_output(network.eval(), Preprocess(mean, std), config.architecture, context)
    params_total = sum(p.numel() for p in network.parameters())
    about = {
        "architecture": config.architecture,
        "num_classes": config.num_classes,
        "mean": mean,
        "std": std,
        "params_total": params_total,
        "files": {name: sha256_file(context.root / name) for name in files_of(config.architecture, config.checkpoint)},
        "fetched_from": found.fetched_from,
    }
    with context.publish() as out:
        save_weights(network, out / "source.safetensors")
        write_json(out / "source.json", {**about, "sha256": sha256_file(out / "source.safetensors")})
    return context.result({"architecture": config.architecture, "params_total": params_total})


@torch.no_grad()
def _check_output(network: nn.Module, preprocess: nn.Module, architecture: str, context: StageContext) -> None:
    """One image through the network: does it take the target's images and return class scores?"""
    data = target_data(context)
    try:
        scores = network(preprocess(torch.from_numpy(data.x_train[:1])))
    except (RuntimeError, ValueError) as e:
        why, shape = str(e).splitlines()[0], data.image_shape
        raise SourceError(f"architecture '{architecture}' does not take images of shape {shape}: {why}; set targets.{context.target}.image_size.") from e
    expected = (1, context.params.transfer.num_classes)
    got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if got != expected:
        raise SourceError(f"architecture '{architecture}': expected class scores of shape {expected}, got {got}; give a network that returns them.")


def _three(values: tuple[float, ...]) -> list[float]:
    return list(values) * (3 // len(values))


if __name__ == "__main__":
    main(fetch_source, __doc__)
