"""VGG16 with BatchNorm for small images.

Source: Simonyan & Zisserman 2015, configuration D; layers, names and biases as in
chenyaofo/pytorch-cifar-models (vgg16_bn).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between two poolings."""


class VggCifar(nn.Module):
    """13 convolutions with biases and BatchNorm, five poolings, three linear layers; images of 32 to 63 pixels a side.

    Args:
        num_classes: outputs.
        width: of every layer, as a share of the published one.
    """

    def __init__(self, num_classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for full, convolutions in _STAGES:
            channels = round(width * full)
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(channels_in, channels, 3, padding=1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                channels_in = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(channels_in, channels_in), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Linear(channels_in, channels_in), nn.ReLU(inplace=True), nn.Dropout()),
            nn.Linear(channels_in, num_classes),
        )
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits
