"""What the feature attack costs, against the forward and backward passes it cannot do without.

    python benchmarks/attack.py [--architecture torchvision:resnet18] [--image-size 64] [--batch 64] [--repeats 5]

The weights are random (they do not change the cost). One pass: features, loss, gradient with
respect to the images. Timed in turn with the attack, each as many passes as the attack has steps.
Prints one JSON object with every repeat, so that the spread shows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import torch
from torch import Tensor

from seam.configs.defects import AttackConfig
from seam.configs.runtime import RuntimeConfig
from seam.defects.feature_attack import attack, feature_loss
from seam.defects.penultimate import PenultimateFeatures
from seam.networks.build import build
from seam.runtime import start

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain_passes(features: PenultimateFeatures, images: Tensor, passes: int) -> None:
    """Forward and backward passes, and nothing else."""
    for _ in range(passes):
        inputs = images.clone().requires_grad_()
        feature_loss(features(inputs)).backward()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="torchvision:resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    runtime = start(RuntimeConfig(), arguments.image_size**2)
    torch.manual_seed(0)
    network = build(arguments.architecture, 1000).to(runtime.device).eval().requires_grad_(False)
    images = torch.randn(arguments.batch, 3, arguments.image_size, arguments.image_size, device=runtime.device)
    config = AttackConfig(batch_size=arguments.batch)
    features = PenultimateFeatures(network, images[:1])
    times: dict[str, list[float]] = {"attack": [], "passes": []}
    for repeat in range(arguments.repeats + 1):
        for name, measured in times.items():
            begin = time.perf_counter()
            if name == "attack":
                attack(network, images, config, MEAN, STD, seed=repeat)
            else:
                plain_passes(features, images, config.steps)
            if runtime.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first warms up
                measured.append(time.perf_counter() - begin)
    ratios = [a / p for a, p in zip(times["attack"], times["passes"], strict=True)]
    found = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
        "seconds": {name: [round(t, 2) for t in some] for name, some in times.items()},
        "steps": config.steps,
        "architecture": arguments.architecture,
        "images": f"{arguments.batch} of {arguments.image_size} x {arguments.image_size}",
        "device": str(runtime.device),
        "threads": runtime.threads,
        "load_average": [round(x, 1) for x in os.getloadavg()],
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
