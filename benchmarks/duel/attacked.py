"""The published feature attack on a problem's source, made once: images that disturb what it has learned."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from duel.task import seeded
from seam.checkpoint import fingerprint
from seam.configs.defects import AttackConfig
from seam.data.images import LabelledImages
from seam.defects.feature_attack import attack
from seam.errors import SuspectResultWarning
from seam.files import write_bytes
from seam.networks.source import Source

IMAGES = 600
_FOLDER = Path(__file__).resolve().parents[2] / "build" / "duel" / "attacks"


@dataclass(frozen=True)
class Attacked:
    """Some test images, as many of each class, normalised, clean and attacked."""

    clean: Tensor
    adversarial: Tensor
    labels: Tensor


def attacked_images(name: str, source: Source, test: LabelledImages, device: str = "cpu") -> Attacked:
    """Up to `IMAGES` test images of a problem and what the attack makes of them; kept in build/duel/attacks."""
    chosen = _balanced(test.labels)
    clean, labels = source.preprocess()(test.images[chosen]), test.labels[chosen]
    path = _FOLDER / f"{name}-{fingerprint(test.images[chosen])[:12]}.safetensors"
    if not path.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SuspectResultWarning)
            network = source.network.to(device)
            found = attack(network, clean.to(device), AttackConfig(), source.info.mean, source.info.std, 0).cpu()
        write_bytes(path, save({"adversarial": found.contiguous()}))
    return Attacked(clean, load_file(path)["adversarial"], labels)


def _balanced(labels: Tensor) -> Tensor:
    """Indices of up to `IMAGES` images, as many of each class as there are of the rarest."""
    classes = labels.unique()
    each = min(IMAGES // len(classes), int(labels.bincount().min()))
    drawn = [torch.nonzero(labels == c).flatten() for c in classes]
    return torch.cat([d[torch.randperm(len(d), generator=seeded(0))[:each]] for d in drawn]).sort().values
