"""Tables as Docker prints them: columns at least ten wide, three spaces apart, headings in capitals."""

from collections.abc import Iterable, Sequence

_GAP = 3
_NARROWEST = 10


def render_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(_NARROWEST, *(len(line[column]) + _GAP for line in lines)) for column in range(len(headings) - 1)]
    text = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        text.append("".join(cells) + line[-1])
    return "\n".join(line.rstrip() for line in text) + "\n"
