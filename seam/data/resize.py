"""The one way an image gets its size, at validation and when serving. Needs only numpy and Pillow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from seam.data.pictures import MOST_PIXELS


def resize_and_crop(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Scale the short side to `size` (bilinear, antialiased), then crop the centre to `size` x `size`.

    An image that is already `size` x `size` comes back unchanged.

    Args:
        pixels: uint8, shape (height, width, channels), channels 1 or 3.
        size: side of the result in pixels.

    Returns:
        uint8, shape (size, size, channels).

    Raises:
        ValueError: so long that scaled it would be larger than any picture that is read.
    """
    height, width, channels = pixels.shape
    if (height, width) == (size, size):
        return pixels
    short = min(height, width)
    new_width = max(size, round(width * size / short))
    new_height = max(size, round(height * size / short))
    if new_width * new_height > MOST_PIXELS:
        raise ValueError(f"expected a picture that is not so long, got {width} x {height} pixels")
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    scaled = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR)).reshape(
        new_height, new_width, channels
    )
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return np.ascontiguousarray(scaled[top : top + size, left : left + size])
