"""Architectures that masks, channel groups and compaction are tested on."""

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
