"""Measured rows as a table: medians, spreads and ratios, against targets (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Series:
    """What was measured of one side: its name, and values of one unit."""

    side: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles: half of the values lie between them."""
        return quantile(self.values, 0.25), quantile(self.values, 0.75)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` (0 to 1) of the values lie, between neighbours in proportion."""
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is compared, ours and the peer's; a ratio that is wanted, as most or as least.

    ``missing`` says which part was not there to be measured.
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
        """Ours to the peer's, of the medians."""
        if self.ours is None or self.peer is None:
            return None
        return self.ours.median / self.peer.median

    @property
    def met(self) -> bool | None:
        """Whether the ratio is as wanted; None where nothing is wanted or known."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


HEAD = ("what", "ratio", "target", "", "ours", "median", "quartiles", "beside", "median", "quartiles")


def _number(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if value >= 1000 else f"{value:.1f} {unit}"


def cells(row: Row) -> tuple[str, ...]:
    """A row's texts, in the order of ``HEAD``."""
    wanted = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {row.target:g}"
    if row.ratio is None:
        return (row.what, "-", wanted, "missing", row.missing, "", "", "", "", "")
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    found = [row.what, f"{row.ratio:.2f}", wanted, verdict]
    for series in (row.ours, row.peer):
        assert series is not None  # noqa: S101
        low, high = series.spread
        found += [series.side, _number(series.median, row.unit), f"{low:.1f} … {high:.1f}"]
    return tuple(found)


def text(rows: Iterable[Row]) -> str:
    """The table for a terminal, in columns."""
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def markdown(rows: Iterable[Row]) -> str:
    """The table for a page."""
    lines = [HEAD, ("---",) * len(HEAD), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(page: str, start: str, end: str, content: str) -> str:
    """A page with new content between two marks; raises ``ValueError`` where it has not both, in this order."""
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no {start} … {end}")
    return f"{before}{start}\n{content}\n{end}{after}"
