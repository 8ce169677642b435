"""A target problem small enough to know what a search must find."""

import torch

from seam.data.images import LabelledImages


def left_or_right(seed: int, count: int = 128) -> LabelledImages:
    """Label 0 is bright on the left, label 1 on the right; 8 x 8 grey pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 60, (count, 8, 8, 1), generator=generator)
    images[labels == 0, :, :4] += 150
    images[labels == 1, :, 4:] += 150
    return LabelledImages(images.to(torch.uint8), labels)
