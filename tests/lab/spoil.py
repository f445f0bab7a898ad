"""Mistakes in files, always the same for the same chance. Standard library only: the extension's tests use it too."""

from __future__ import annotations

import random

WORDS = [
    *(b"\0", b"\xff", b"\x80", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"),
    *(b"9" * 30, b"NaN", b"null", b"[", b"{", b'"', b"\n"),
]
NUMBERS = (
    "0",
    "-1",
    "1e999",
    "99999999999",
    "2147483648",
    "null",
    '"x"',
    "[]",
    "{}",
    "1e-300",
    "NaN",
    "true",
    '"\\u0000"',
    "3.5",
)


def spoiled(whole: bytes, chance: random.Random, text: bool = False) -> bytes:
    """A whole file with one to eight mistakes in it, mostly few, most of them near its beginning, where the headers are."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4, 8))):
        size = len(data)
        reach = size if chance.random() < 0.4 else min(size, 400)
        at = chance.randrange(reach) if reach else 0
        kind = chance.randrange(8 if text else 7)
        if kind == 0 and size:
            data[at] = chance.randrange(256)
        elif kind == 1 and size:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at:at] = chance.choice(WORDS)
        elif kind == 3:
            del data[at : at + chance.choice((1, 2, 4, 16, 200))]
        elif kind == 4:
            word = chance.choice(WORDS)
            data[at : at + len(word)] = word
        elif kind == 5 and size > 8:
            start, length = chance.randrange(size), chance.choice((1, 4, 40, 400))
            data[at:at] = data[start : start + length] * chance.choice((1, 1, 2, 50))
        elif kind == 6 and chance.random() < 0.3:
            del data[at:]
        elif kind == 7:
            _other_number(data, chance)
    return bytes(data)


def _other_number(data: bytearray, chance: random.Random) -> None:
    """Another value where a number stands."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if digits:
        start = end = chance.choice(digits)
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[start:end] = chance.choice(NUMBERS).encode()
