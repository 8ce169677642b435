"""One MLflow run for a restructuring, one registered version of its network, the alias by the gates, and the card."""

from __future__ import annotations

from seam.files import read_json, sha256_file
from seam.networks.build import build
from seam.networks.plain import plain
from seam.networks.state_dicts import load_weights
from tasks.inputs.problem import problem_source
from tasks.project.stage import StageContext, StageResult, main
from tasks.tracking.made_networks import MadeNetwork, register_made


def register_restructuring(context: StageContext) -> StageResult:
    """Log, register, publish card.json; run again after a kill, it finishes what is missing and repeats nothing.

    Raises:
        TrackingError: the MLflow store cannot be used.
    """
    source, folder = problem_source(context), context.folder("restructure")
    path = folder.relative_to(context.root) / "network.py"
    weights = folder / "network.safetensors"
    network = build(f"{path}:network", source.info.num_classes).eval()
    plain(network, source.example())
    load_weights(network, weights)
    change = read_json(folder / "metrics.json")["change"]
    made = MadeNetwork(
        stage="restructure",
        key="restructured",
        against="source",
        network=network.requires_grad_(False),
        preprocess=source.preprocess(),
        classes=source.info.classes,
        hashes={"source_sha256": source.info.sha256, "network_sha256": sha256_file(weights)},
        about=f"{source.info.architecture} without {', '.join(change['removed']) or 'any change of its blocks'}",
    )
    return register_made(context, made)


if __name__ == "__main__":
    main(register_restructuring, __doc__)
