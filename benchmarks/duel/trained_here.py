"""Networks that are trained on the spot, once, and kept in build/duel/trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from duel.problems import Network
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.data.images import LabelledImages
from seam.data.prepared import ImageData
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.source import Preprocess
from seam.networks.state_dicts import save_weights
from seam.runtime import start
from seam.training.finetune import train_from_scratch

TRAINED = Path(__file__).resolve().parents[2] / "build" / "duel" / "trained"
_EPOCHS = {32: 20, 224: 12}
_RATES = {32: 0.1, 224: 0.002}


def trained_weights(network: Network, module: nn.Module, data: ImageData, given: Path) -> Path:
    """The weights of a network that none are published of, trained on all training images of its data.

    Args:
        network: which.
        module: it, with fresh weights; it is trained in place.
        data: its whole data set; the test images are looked at by nobody.
        given: weights to begin with, all that fit (a classifier of other classes is left fresh);
            where there is no such file, it learns from scratch.

    Returns:
        A file.
    """
    path = TRAINED / network.weights
    if path.is_file():
        return path
    torch.manual_seed(0)
    if given.is_file():
        mine, found = module.state_dict(), read_state_dict(given).items()
        fitting = {k: v for n, v in found for k in mine if f".{n}".endswith(f".{k}") and mine[k].shape == v.shape}
        module.load_state_dict({**mine, **fitting})
    images = LabelledImages(torch.from_numpy(data.x_train), torch.from_numpy(data.y_train))
    watched = np.random.default_rng(0).permutation(len(images))[:500]
    config = SourceConfig(epochs=_EPOCHS[network.side], lr=_RATES[network.side], batch_size=64, augment="crop_flip")
    train_from_scratch(
        module,
        Preprocess(network.mean, network.std),
        images,
        LabelledImages(images.images[watched], images.labels[watched]),
        config,
        start(RuntimeConfig(threads=1), network.side**2),
        seed=0,
        on_epoch=lambda e: print(f"{network.weights}: pass {e.epoch}, loss {e.loss:.3f}", flush=True),
    )
    save_weights(module.cpu(), path)
    return path
