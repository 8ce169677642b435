"""Architectures that masks, channel groups and compaction are tested on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.networks import build

HEAVY = ("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "regnet_y_400mf", "resnet50", "swin_t")
LIGHT = ("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1")
TORCHVISION = (*LIGHT, *HEAVY)
BUILT_IN = tuple(name for name in build.BUILT_IN if not any(depth in name for depth in ("32", "44", "56")))
"""Of a family of one design the shallowest."""
SMALL_VIT = """
from torchvision.models import VisionTransformer
def vit(num_classes):
    sizes = dict(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    return VisionTransformer(**sizes, num_classes=num_classes)
"""


class ShuffleUnit(nn.Module):
    """Two grouped convolutions, a shuffle of channels and a depthwise one between; added to, or beside, what it reads.

    As in ShuffleNet's first version.
    """

    def __init__(self, inputs: int, outputs: int, inner: int, groups: int) -> None:
        super().__init__()
        self.groups, self.wider = groups, outputs > inputs
        self.squeeze = nn.Conv2d(inputs, inner, 1, groups=groups)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.expand = nn.Conv2d(inner, outputs - inputs if self.wider else outputs, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.squeeze(x))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.expand(self.depthwise(y))
        return F.relu(torch.cat([x, y], 1) if self.wider else x + y)
