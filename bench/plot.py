"""A plot of lines as SVG (pure)."""

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 56
# Colours that are distinct for people with colour blindness, and a dash pattern for each line.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "", "4 2")


def ticks(highest: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to the first one that is not below ``highest``, in steps such as 1, 2, 5, 10, 20."""
    if highest <= 0:
        return [0.0, 1.0]
    size = 1e-9
    while True:
        for step in (size, 2 * size, 5 * size):
            if step * wanted >= highest:
                count = 0
                while count * step < highest:
                    count += 1
                return [place * step for place in range(count + 1)]
        size *= 10


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, content: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(content)}</text>'


def svg(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """The document: a named line for each of ``lines``, axes that begin at 0 with their names, and a key.

    Raises ``ValueError`` where there is nothing to draw.
    """
    everything = [point for points in lines.values() for point in points]
    if not everything:
        raise ValueError("there is nothing to draw")
    columns, rows = (ticks(max(point[axis] for point in everything)) for axis in (0, 1))
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / columns[-1], _TOP + high * (1 - y / rows[-1])

    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(WIDTH / 2, 20, title, more=' font-size="14"'),
        _text(WIDTH / 2, HEIGHT - 8, across),
        _text(14, HEIGHT / 2, up, more=f' transform="rotate(-90 14 {HEIGHT / 2:g})"'),
    ]
    for value in columns:
        x, y = place(value, 0)
        found += [_line(x, _TOP, x, y, "#ddd"), _text(x, y + 16, f"{value:g}")]
    for value in rows:
        x, y = place(0, value)
        found += [_line(x, y, WIDTH - _RIGHT, y, "#ddd"), _text(x - 6, y + 4, f"{value:g}", "end")]
    for number, (name, points) in enumerate(lines.items()):
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(points)))
        found.append(f'<polyline fill="none" {style} points="{path}"/>')
        found += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in (place(*at) for at in points)
        ]
        left = _LEFT + number * wide / len(lines)
        found.append(f'<line x1="{left:.1f}" y1="{_BOTTOM - 24}" x2="{left + 24:.1f}" y2="{_BOTTOM - 24}" {style}/>')
        found.append(_text(left + 30, _BOTTOM - 20, name, "start"))
    return "\n".join([*found, "</svg>", ""])
