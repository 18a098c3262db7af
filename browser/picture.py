"""A picture of 32-bit pixels, and PNG (RFC 2083) with the standard library."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass

_PALETTE = 256
BARS = 100  # rows at the top: tabs, which turn their wheels, and the address


@dataclass(frozen=True)
class Picture:
    """`data` are `width` * `height` little-endian pixels 0x00RRGGBB, row by row from the top."""

    width: int
    height: int
    data: bytes

    def at(self, x: int, y: int) -> tuple[int, int, int]:
        """Return red, green and blue of a pixel."""
        blue, green, red = self.data[4 * (y * self.width + x) :][:3]
        return red, green, blue

    def below(self, top: int) -> bytes:
        """Return the pixels of the rows from `top`."""
        return self.data[4 * self.width * top :]

    def blank(self) -> bool:
        """Tell whether hardly anything is drawn below the browser's bars: all but one in 150 pixels have one colour."""
        counts = _counts(self._rows()[BARS:])
        return (counts.total() - max(counts.values())) * 150 < counts.total()

    def png(self) -> bytes:
        """Return it as PNG with a palette: of more than 256 colours the commonest, the others as their nearest."""
        rows = self._rows()
        counts = _counts(rows)
        palette = [colour for colour, _ in counts.most_common(_PALETTE)]
        index = {colour: number for number, colour in enumerate(palette)}
        near = {(_coarse(colour)): number for colour, number in reversed(index.items())}
        for colour in counts:
            if colour not in index:
                coarse = _coarse(colour)
                if coarse not in near:
                    near[coarse] = min(range(len(palette)), key=lambda n: _distance(palette[n], colour))
                index[colour] = near[coarse]
        # Each row begins with the number of its filter: none.
        packed = {row: b"\0" + bytes(map(index.__getitem__, memoryview(row).cast("I"))) for row in set(rows)}
        image = zlib.compress(b"".join(packed[row] for row in rows), 9)
        colours = b"".join(struct.pack(">I", colour & 0xFFFFFF)[1:] for colour in palette)
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", image), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)

    def _rows(self) -> list[bytes]:
        return [self.data[start : start + 4 * self.width] for start in range(0, len(self.data), 4 * self.width)]


def _counts(rows: list[bytes]) -> Counter[int]:
    """Return how many pixels there are of each colour. Half of a browser's rows are like another."""
    counts: Counter[int] = Counter()
    for row, times in Counter(rows).items():
        for colour, number in Counter(memoryview(row).cast("I")).items():
            counts[colour] += number * times
    return counts


def _coarse(colour: int) -> int:
    return colour & 0xF8F8F8


def _distance(one: int, other: int) -> int:
    return sum(abs((one >> shift & 0xFF) - (other >> shift & 0xFF)) for shift in (0, 8, 16))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
