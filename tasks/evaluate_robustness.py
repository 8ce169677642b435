"""Defects inherited from the original: adversarial images made once from it, and what every model makes of them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from seam.data.images import LabelledImages
from seam.defects.feature_attack import attack, describe_attack, random_noise
from seam.defects.inheritance import defect_inheritance
from seam.files import write_bytes, write_json
from seam.hardware import in_words
from seam.runtime import Runtime, start
from tasks.inputs.problem import load_model, problem_images, problem_source
from tasks.project.measured import ATTACKED
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

KEPT = 128
"""Attacked images that are published, to be looked at. All are measured, and the digest is of all."""


def evaluate_robustness(context: StageContext) -> StageResult:
    """Attack the original's features on the test images, classify those with every model, publish the rates."""
    config, seed, source = context.params.evaluate_robustness, context.params.seed, problem_source(context)
    runtime = start(context.params.runtime, source.info.pixels)
    space = (source.info.mean, source.info.std)
    test = problem_images(context, "test").to(runtime.device)
    clean = source.preprocess().to(runtime.device)(test.images)
    with collect_warnings(context) as doubts:
        with tqdm(total=len(clean), desc=f"attack {context.name}", unit="image", disable=None) as bar:

            def on_batch(done: int) -> None:
                bar.update(done - bar.n)
                context.progress(0.9 * done / len(clean), f"attack, {done} of {len(clean)} images")

            adversarial = attack(source.network.to(runtime.device), clean, config, *space, seed, on_batch)
        noisy = random_noise(clean, config, *space, seed)
        about = describe_attack([(clean, adversarial)], config, *space, seed)
        metrics, control = _judge(context, runtime, clean, adversarial, noisy, test)
    with context.publish() as out:
        images = {"images_normalized": adversarial.cpu().contiguous(), "labels": test.labels.cpu()}
        digest = {"adversarial_sha256": hashlib.sha256(save(images)).hexdigest()}
        write_bytes(out / "adversarial.safetensors", save({name: values[:KEPT] for name, values in images.items()}))
        about["computed_on"] = in_words()
        write_json(
            out / "attack.json", {**about, **digest, "random_noise": control, "warnings": list(dict.fromkeys(doubts))}
        )
        write_json(out / "metrics.json", metrics)
    return context.result(
        {f"{name}_defect_inheritance_rate": metrics[name]["defect_inheritance_rate"] for name in ATTACKED}
    )


def _judge(
    context: StageContext, runtime: Runtime, clean: Tensor, adversarial: Tensor, noisy: Tensor, test: LabelledImages
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rates of every model under the attack, and (control) under random noise of the same budget."""
    metrics, control = {}, {}
    for name in ATTACKED:
        context.progress(0.9, name)
        model = load_model(context, name).to(runtime.device)
        before = _labels(model, clean)
        metrics[name] = asdict(defect_inheritance(before, _labels(model, adversarial), test.labels))
        control[name] = asdict(defect_inheritance(before, _labels(model, noisy), test.labels))
    return metrics, control


@torch.no_grad()
def _labels(model: nn.Module, images: Tensor) -> Tensor:
    """Predicted target labels of normalised images, in float32."""
    return torch.cat([model(batch).argmax(1) for batch in torch.split(images, 256)])


if __name__ == "__main__":
    main(evaluate_robustness, __doc__)
