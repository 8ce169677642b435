"""What the pixels of a data set are like."""

from __future__ import annotations

import numpy as np

from seam.data.prepared import ImageArray


def channel_statistics(images: ImageArray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel, pixels in [0, 1], from exact counts of the 256 values.

    Args:
        images: shape (n, height, width, channels).
    """
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[3], 256), dtype=np.int64)
    for image in images:  # one at a time: bincount makes eight bytes of every value
        for channel in range(images.shape[3]):
            counts[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    shares = counts / counts[0].sum()
    means = [float(share @ values) for share in shares]
    return means, [float(np.sqrt(share @ (values - mean) ** 2)) for share, mean in zip(shares, means, strict=True)]
