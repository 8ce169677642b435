"""Damage, drawn from a random generator: to bytes, to text, to the values of a document."""

from __future__ import annotations

import random
import struct
from typing import Any

_HEAD = 400
"""Bytes at the beginning, where headers are, that are damaged more often than others."""
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WRONG: tuple[Any, ...] = (
    *(None, "", "x", " ", "on", "0", "1e3", "a\nb", "\u00e4\u732b", "../..", "/dev/null", "~", "{}", "null"),
    *(-1, 0, 1, 2, 10**12, 10**30, -0.5, 0.5, 1e-320, 1e300, float("inf"), float("nan"), True, False),
    *([], [[]], [0], ["x"], [None], [1, [2]], {}, {"x": 1}, {"": None}, {"x": {"y": []}}),
)
"""Values that are rarely what is asked for."""
WORDS = (
    *("null", "~", "[]", "{}", "[", "]", "{", "}", ":", "- ", "-1", "0", "1e309", ".nan", ".inf", "true", "no", "0x10"),
    *('"', "'", "#", "&a", "*a", "<<: *a", "!!python/object:os.system", "\t", "\x00", "\ufeff", "---\n", "...\n"),
    *("9" * 400, "x" * 5000, "%", "!", "|", ">", "@", "`", "2001-01-01", "1_000", "0o17", "1:30", "\r", "\u2028"),
)


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes that are overwritten, flipped, cut off, left out, repeated, moved, or read as other numbers."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        most = len(found) if draw.random() < 0.6 else min(len(found), _HEAD)
        if not most:
            return bytes(found)
        at, size = draw.randrange(most), draw.randint(1, 9)
        match draw.randrange(8):
            case 0:
                found[at : at + size] = draw.randbytes(len(found[at : at + size]))
            case 1:
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                del found[at:]
            case 3:
                del found[at : at + size]
            case 4:
                found[at:at] = found[at : at + 8 * size]
            case 5:
                to = draw.randrange(len(found))
                found[to : to + size] = found[at : at + size]
            case 6:
                kind = draw.choice(("<B", "<H", "<I", "<Q", ">H", ">I", ">Q"))
                width = struct.calcsize(kind)
                number = draw.choice(_NUMBERS) & ((1 << 8 * width) - 1)
                found[at : at + width] = struct.pack(kind, number)
            case _:
                found[at:at] = bytes(draw.choice((1, 64, 4096)))
    return bytes(found)


def damaged_text(content: bytes, draw: random.Random) -> bytes:
    """A line or a word of a text that is changed, left out, repeated, moved; now and then its bytes."""
    if draw.random() < 0.2:
        return damaged_bytes(content, draw)
    lines = content.decode().split("\n")
    for _ in range(draw.choice((1, 1, 2, 3))):
        number = draw.randrange(len(lines))
        line = lines[number]
        match draw.randrange(7):
            case 0:
                key, colon, _ = line.partition(":")
                lines[number] = f"{key}{colon} {draw.choice(WORDS)}"
            case 1:
                at = draw.randrange(len(line) + 1)
                lines[number] = line[:at] + draw.choice(WORDS) + line[at:]
            case 2:
                del lines[number]
            case 3:
                lines.insert(draw.randrange(len(lines)), line)
            case 4:
                lines[number] = " " * draw.randrange(9) + line.lstrip()
            case 5:
                at = draw.randrange(len(line) + 1)
                lines[number] = line[:at] + line[at + 1 :]
            case _:
                lines[number] = line.replace(draw.choice((":", "-", " ", "0", "1", "e")), draw.choice(WORDS), 1)
        lines = lines or [""]
    return "\n".join(lines).encode(errors="surrogatepass")


def damaged_values(content: Any, draw: random.Random) -> Any:
    """A document with a value that is wrong, missing, one too many, or its key; at any depth."""
    if isinstance(content, dict) and content:
        key = draw.choice(sorted(content, key=str))
        if isinstance(content[key], (dict, list)) and content[key] and draw.random() < 0.75:
            return {**content, key: damaged_values(content[key], draw)}
        match draw.randrange(6):
            case 0:
                return {k: v for k, v in content.items() if k != key}
            case 1:
                return {**content, draw.choice(("x", "", f"{key} ", f"{key}s")): content[key]}
            case _:
                return {**content, key: draw.choice(WRONG)}
    if isinstance(content, list) and content:
        place = draw.randrange(len(content))
        if isinstance(content[place], (dict, list)) and content[place] and draw.random() < 0.75:
            return [*content[:place], damaged_values(content[place], draw), *content[place + 1 :]]
        return [*content[:place], *draw.choice(([], [draw.choice(WRONG)], [content[place]] * 2)), *content[place + 1 :]]
    return draw.choice(WRONG)
