"""The table: a row as soon as it is known, and all of them once more for docs/performance.md."""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

_SIDE = 0.025


@dataclass(frozen=True)
class Row:
    case: str
    unit: str
    target: str  # of the ratio, as the project promises itself
    values: Mapping[str, list[float]]  # by side
    troubles: Sequence[str] = ()
    of_pairs: bool = False  # the ratio is the median of each round's, not the medians' ratio
    seconds: float = 0.0  # that measuring it took
    by_processor: Mapping[str, list[float]] = field(default_factory=dict)  # the same for a second of the processor

    def pairs(self, first: str, other: str) -> list[float]:
        """The ratio of each round, in order of size."""
        both = zip(self.values.get(first, []), self.values.get(other, []), strict=False)
        return sorted(own / foreign for own, foreign in both if foreign)

    def of_processor(self) -> "Row":
        return replace(self, values=self.by_processor, by_processor={})

    def spread(self, first: str, other: str) -> tuple[float, float] | None:
        """Between which two the true median of the pairs' ratios lies, nineteen times of twenty; None where there are
        too few pairs to tell."""
        pairs = self.pairs(first, other) if self.of_pairs else []
        outside = _outside(len(pairs))
        return (pairs[outside], pairs[-1 - outside]) if outside >= 0 else None

    def median(self, side: str) -> float | None:
        return statistics.median(self.values[side]) if self.values.get(side) else None

    def ratio(self, first: str, other: str) -> float | None:
        if self.of_pairs:
            pairs = self.pairs(first, other)
            return statistics.median(pairs) if pairs else None
        own, foreign = self.median(first), self.median(other)
        return own / foreign if own is not None and foreign else None


@dataclass
class Table:
    sides: Sequence[str]
    rows: list[Row] = field(default_factory=list)

    def begin(self) -> None:
        ratios = "".join(f"{'÷ ' + name:>12}" for name in self.sides[1:])
        print(f"{'case':<60}" + "".join(f"{name:>12}" for name in self.sides) + ratios, flush=True)

    def announce(self, case: str) -> None:
        """Only to somebody who watches."""
        if sys.stdout.isatty():
            print(f"{case} ...", end="\r", flush=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        label = f"{row.case}, {row.unit}" if row.unit else row.case
        line = f"{label:<60}" + "".join(f"{shown(row.median(name)):>12}" for name in self.sides)
        line += "".join(f"{shown(row.ratio(self.sides[0], name), 3):>12}" for name in self.sides[1:])
        line += "".join(_in_words(row, self.sides[0], name) for name in self.sides[1:])
        if cost := self._cost(row):
            line += f"   by processor time {cost}"
        print(f"{line}   {row.target}   ({row.seconds:.0f} s)", flush=True)
        for trouble in row.troubles:
            print(f"    FAILED: {trouble}", flush=True)

    def _cost(self, row: Row) -> str:
        spent = row.of_processor()
        ratio = spent.ratio(*self.sides[:2]) if len(self.sides) == 2 else None
        return f"{ratio:.2f}{_in_words(spent, *self.sides[:2])}" if ratio else ""

    def failed(self) -> bool:
        return any(row.troubles for row in self.rows)

    def print_markdown(self) -> None:
        ratios = ["ratio" if len(self.sides) == 2 else f"to {name}" for name in self.sides[1:]]
        costs = ["by processor time"] if any(row.by_processor for row in self.rows) else []
        heads = ["case", "unit", *self.sides, *ratios, *costs, "wanted"]
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for row in self.rows:
            cells = [row.case, row.unit, *(shown(row.median(name), 3) for name in self.sides)]
            for name in self.sides[1:]:
                ratio = row.ratio(self.sides[0], name)
                cells.append(f"{ratio:.2f}{_in_words(row, self.sides[0], name)}" if ratio else "-")
            cells += [self._cost(row) or "-" for _ in costs]
            print("| " + " | ".join([*cells, row.target]) + " |")


def _outside(count: int) -> int:
    """How many of so many values on either side the median of what they were drawn from is above or below, but for one
    time in forty; -1 where that can be said of none."""
    chance, outside = 0.5**count, -1
    while chance <= _SIDE and count:
        outside += 1
        chance += math.comb(count, outside + 1) * 0.5**count
    return outside


def _in_words(row: Row, first: str, other: str) -> str:
    spread = row.spread(first, other)
    return f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else ""


def shown(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "-"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
