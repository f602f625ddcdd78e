"""A table of measured rows: medians, quartiles, ratios and targets (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one side."""

    side: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles. Half of the values are between them."""
        return quantile(self.values, 0.25), quantile(self.values, 0.75)


def quantile(values: Sequence[float], part: float) -> float:
    """The quantile of the values for ``part`` (0 to 1), interpolated between neighbours."""
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is compared, our values and the other side's, and a target for the ratio.

    The target is the highest ratio, or the lowest one with ``at_least``. ``missing`` names programs that are not
    installed. A row has a field for each cell of the table, so there are more than five.
    """

    what: str
    ours: Series | None
    peer: Series | None
    target: float | None = None
    at_least: bool = False
    unit: str = "ms"
    missing: str = ""

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians."""
        if self.ours is None or self.peer is None:
            return None
        return self.ours.median / self.peer.median

    @property
    def met(self) -> bool | None:
        """Whether the target is met. None if there is no target or no ratio."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


HEAD = ("what", "ratio", "target", "", "ours", "median", "quartiles", "beside", "median", "quartiles")


def _number(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if value >= 1000 else f"{value:.1f} {unit}"


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, in the order of ``HEAD``."""
    target = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {row.target:g}"
    if row.ratio is None:
        return (row.what, "-", target, "missing", row.missing, "", "", "", "", "")
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    found = [row.what, f"{row.ratio:.2f}", target, verdict]
    for series in (row.ours, row.peer):
        assert series is not None  # noqa: S101
        low, high = series.spread
        found += [series.side, _number(series.median, row.unit), f"{low:.1f} … {high:.1f}"]
    return tuple(found)


def text(rows: Iterable[Row]) -> str:
    """The table for a terminal, in columns."""
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def markdown(rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(page: str, start: str, end: str, content: str) -> str:
    """A page with new content between two marks. Raises ``ValueError`` if it does not have both, in this order."""
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no {start} … {end}")
    return f"{before}{start}\n{content}\n{end}{after}"
