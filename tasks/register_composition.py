"""One MLflow run for a composition, one registered version of its network, the alias by the gates, and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from seam.checkpoint import digest_of
from seam.door.compose import joined
from seam.errors import DataError
from seam.files import read_json, sha256_file
from tasks.inputs.parts import Part, parts
from tasks.project.stage import StageContext, StageResult, main
from tasks.tracking.made_networks import MadeNetwork, register_made


def register_composition(context: StageContext) -> StageResult:
    """Log, register, publish card.json; run again after a kill, it finishes what is missing and repeats nothing.

    Raises:
        DataError: the modules, or network.onnx, are not those of the composition.
        TrackingError: the MLflow store cannot be used.
    """
    metrics = read_json(context.artifact("compose", "metrics.json"))
    made_of = {part.name: part for part in parts(context)}
    _check(context, metrics, made_of)
    chosen: Mapping[str, str] = metrics["chosen"]
    used = {name: [of for of, origin in chosen.items() if origin == name] for name in dict.fromkeys(chosen.values())}
    heads = {
        f"{name}.heads_sha256": digest_of([made_of[name].head_sha256(of) for of in classes])
        for name, classes in used.items()
    }
    made = MadeNetwork(
        stage="compose",
        key="composed",
        against="best_source" if metrics["best_source"] else "sources",
        network=_composed(metrics, made_of),
        preprocess=made_of[next(iter(used))].source.preprocess(),
        classes=metrics["classes"],
        hashes={**metrics["hashes"], **heads},
        images=made_of[next(iter(used))].images,
        about=f"{len(chosen)} modules of {', '.join(used)} put together, without training",
    )
    return register_made(context, made)


def _check(context: StageContext, metrics: Mapping[str, Any], made_of: Mapping[str, Part]) -> None:
    """Raise a DataError where the composition was made of something else."""
    found = {f"{name}.{key}": value for name, part in made_of.items() for key, value in part.hashes.items()}
    found["network_sha256"] = sha256_file(context.artifact("compose", "network.onnx"))
    for name, said in metrics["hashes"].items():
        if found.get(name) != said:
            raise DataError(
                f"{context.name}: expected {name} {said}, as when it was composed, got {found.get(name, 'none')}; run"
                " the stage compose again."
            )


def _composed(metrics: Mapping[str, Any], made_of: Mapping[str, Part]) -> nn.Module:
    """The network that `compose` exported: the modules it chose, and the layer that reads them, if any."""
    chosen = {of: metrics["chosen"][of] for of in metrics["classes"]}
    network = joined({name: part.modules for name, part in made_of.items()}, chosen, metrics["fitted_on"])
    if metrics["fitted_on"]:
        layer = {name: torch.tensor(value) for name, value in metrics["mixed"].items()}
        network.mixed = nn.utils.skip_init(nn.Linear, *reversed(layer["weight"].shape))
        network.mixed.load_state_dict(layer)
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    main(register_composition, __doc__)
