"""Images as numbers in JSON: `{"inputs": [...]}`, whole numbers from 0 to 255, (images, height, width, channels).

Nothing is cast: pixels that are fractions, negative or over 255 are another kind of image than the
network was trained on, and are refused.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.serving.asked import Limits, Refused, Takes, Uint8Array

_DEEPEST = 8
"""Brackets within brackets; images need five."""
_FORM = re.compile(rb'\s*\{\s*"(?:inputs|instances)"\s*:\s*(\[.*\])\s*\}\s*', re.DOTALL)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_KEY = re.compile(rb'"\s*:')
_WHOLE_NUMBERS = b"0123456789[], \t\r\n"
_ASKED = 'expected {"inputs": [...]} with images of shape (n, height, width, channels)'
_ONES = bytes.maketrans(b"23456789", b"11111111")
_NO_NUMBER = (b"[,", b"[]", b",]", b",,", b"1[", b"0[", b"]1", b"]0", b"[01", b"[00", b",01", b",00")
"""What follows each other, spaces aside, nowhere in lists with one number between commas; 1 is any digit but 0."""
_APART = re.compile(rb"\d\s+\d")
_MOST_DESCRIBED = 1 << 20
"""Bytes of a body that is parsed to say what it is."""
_PIECE = 1 << 20


def images_in_json(body: bytes, takes: Takes, limits: Limits) -> Uint8Array:
    """The images of a JSON body, shape (images, height, width, channels).

    Raises:
        Refused: anything but whole numbers from 0 to 255 in that shape, or too many.
    """
    if _depth(body) > _DEEPEST:
        raise Refused(400, f"{_ASKED}, got brackets more than {_DEEPEST} deep.")
    match = _FORM.fullmatch(body)
    if match is None or _KEY.search(match[1]):
        raise Refused(400, f"{_ASKED}, got {_described(body)}.")
    numbers = match[1]
    if numbers.translate(None, _WHOLE_NUMBERS):
        raise _not_whole(_first_other(numbers))
    shape = _shape(numbers, limits)
    if len(shape) != 4 or not takes.fits(shape[1:]):
        raise Refused(
            400,
            f"expected images of shape {takes.words} in a list, got an array of shape {shape}; the channels come last.",
        )
    images = _values(numbers).reshape(shape)
    if int(images.max()) > 255:
        raise _not_whole(str(images.max()))
    return images.astype(np.uint8)


def _depth(body: bytes) -> int:
    """Most brackets that are open at once; those in strings count too."""
    deepest = height = 0
    whole = np.frombuffer(body, np.uint8)
    for first in range(0, len(whole), _PIECE):
        piece = whole[first : first + _PIECE] | 0x20  # [ and { differ in this bit alone, and so do their partners
        steps = (piece == ord("{")).astype(np.int8) - (piece == ord("}")).astype(np.int8)
        heights = np.cumsum(steps, dtype=np.int64)
        deepest, height = max(deepest, height + int(heights.max())), height + int(heights[-1])
    return deepest


def _shape(numbers: bytes, limits: Limits) -> tuple[int, ...]:
    """Of lists of numbers; known before any number is read.

    Raises:
        Refused: too many or no images, lists of different lengths, or between brackets and commas is not
            always a number.
    """
    form = numbers.translate(None, b"0123456789 \t\r\n")
    if form == b"[]" and form == numbers.translate(None, b" \t\r\n"):
        limits.check_count(0)
    depth = len(form) - len(form.lstrip(b"["))
    counts = [form.count(b"]" * level + b"," + b"[" * level) + 1 for level in reversed(range(depth))]
    shape = tuple(count // before for count, before in zip(counts, [1, *counts[:-1]], strict=True))
    limits.check_count(shape[0])
    wanted = b""
    for size in reversed(shape):
        wanted = b"[" + b",".join([wanted] * size) + b"]"
        if len(wanted) > len(form):
            break
    if wanted != form:
        raise Refused(400, f"{_ASKED}, got lists of different lengths.")
    compact = numbers.translate(_ONES, b" \t\r\n")
    apart = len(compact) < len(numbers) and _APART.search(numbers)
    if apart or any(pair in compact for pair in _NO_NUMBER):
        raise Refused(400, f"{_ASKED}, got no JSON: one number, without zeros before it, is expected between commas.")
    return shape


def _values(numbers: bytes) -> npt.NDArray[np.int64]:
    """All numbers in their order, of lists that `_shape` has checked; those of 19 digits and more are 2 ** 63 - 1."""
    return np.fromstring(numbers.translate(bytes.maketrans(b"[]", b"  ")), np.int64, sep=",")


def _not_whole(got: str) -> Refused:
    return Refused(
        400,
        f"expected whole numbers from 0 to 255, got {got}; send pixels as they come from disk, neither scaled nor"
        " normalised.",
    )


def _first_other(numbers: bytes) -> str:
    """The first value that is no whole number without a sign."""
    other = re.search(rb"[^\[\],\s]*[^\d\[\],\s][^\[\],\s]*", numbers)
    assert other is not None
    text = other[0][:20].decode(errors="replace")
    return text if text.isprintable() else ascii(text)


def _described(body: bytes) -> str:
    """What else a body is."""
    try:
        if body.startswith(_MARKS):
            return "text with a byte order mark, or in another encoding than UTF-8"
        content = json.loads(body) if len(body) <= _MOST_DESCRIBED else f"something else of {len(body):,} bytes"
    except UnicodeDecodeError:
        return "text that is not UTF-8"
    except (ValueError, RecursionError):
        return "no JSON" if body.strip() else "nothing"
    return content if len(body) > _MOST_DESCRIBED else _described_json(content)


def _described_json(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if {"inputs", "instances"} & content.keys() and len(content) == 1:
        value = next(iter(content.values()))
        return "objects or a second list in it" if isinstance(value, list) else f"a {type(value).__name__} in it"
    return f"the keys {', '.join(sorted(map(ascii, content))[:5]) or 'of an empty object'}"
