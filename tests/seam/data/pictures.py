"""Pictures of noise."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}


def noise(seed: int, width: int = 8, height: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def picture(path: Path, seed: int, width: int = 8, height: int = 8) -> None:
    """Noise in a file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed, width, height).save(path)


def deep_png(path: Path, colour_type: int) -> npt.NDArray[np.uint16]:
    """A PNG of 16 bits a sample, as Pillow does not write them all; its samples (8, 8, samples)."""
    values = np.random.default_rng(colour_type).integers(0, 65_536, (8, 8, _SAMPLES[colour_type]), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return values
