"""One MLflow run for a patch, one registered version of the patched network, the alias by the gates, and the card."""

from __future__ import annotations

from seam.composition.patched import Calibration, Patched
from seam.errors import DataError
from seam.files import read_json, sha256_file
from seam.networks.source import load_source
from tasks.inputs.parts import parts
from tasks.project.stage import StageContext, StageResult, main
from tasks.report.patch_rows import verdict
from tasks.tracking.made_networks import MadeNetwork, register_made


def register_patch(context: StageContext) -> StageResult:
    """Log, register, publish card.json; a patch that was not accepted is logged, and nothing is registered.

    Raises:
        DataError: the modules are not those that the model was patched with.
        TrackingError: the MLflow store cannot be used.
    """
    metrics = read_json(context.artifact("patch", "metrics.json"))
    (part,) = parts(context)
    hashes = {**metrics["hashes"], "head_sha256": part.head_sha256(metrics["class"])}
    for name, found in part.hashes.items():
        if metrics["hashes"][name] != found:
            raise DataError(
                f"{part.name}: expected {name} {metrics['hashes'][name]}, as when the model was patched, got {found};"
                " run the stage patch again."
            )
    weak = load_source(context.folder("patch"))
    numbers = Calibration(**{**metrics["calibration"], "others": tuple(metrics["calibration"]["others"])})
    column = metrics["classes"].index(metrics["class"])
    patched = Patched(weak.network, part.modules[metrics["class"]], column, numbers).eval().requires_grad_(False)
    made = MadeNetwork(
        stage="patch",
        key="patched",
        against="weak",
        network=patched,
        preprocess=weak.preprocess(),
        classes=metrics["classes"],
        hashes={**hashes, "network_sha256": sha256_file(context.artifact("patch", "network.onnx"))},
        about=f"{weak.info.architecture}, '{metrics['class']}' mended by a module of {part.name}",
        refused=None if metrics["accepted"] else f"the patch is {verdict(metrics)}",
    )
    return register_made(context, made)


if __name__ == "__main__":
    main(register_patch, __doc__)
