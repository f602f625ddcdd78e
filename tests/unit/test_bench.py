"""What bench/ computes and prints: medians, spreads, ratios and verdicts, tables, and the plot."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench"))
import plot  # noqa: E402
from table import Row, Series, between, cells, markdown, quantile, text  # noqa: E402

OURS = Series("ours", [30.0, 10.0, 20.0])
PEER = Series("Go", [100.0, 40.0, 50.0, 30.0])


@pytest.mark.parametrize(
    ("values", "part", "wanted"),
    [
        ([7.0], 0.25, 7.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0, 5.0], 0.25, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.75, 3.25),
        ([1.0, 9.0], 1.0, 9.0),
        ([1.0, 9.0], 0.0, 1.0),
    ],
)
def test_a_quantile_lies_between_its_neighbours(values: list[float], part: float, wanted: float) -> None:
    assert quantile(values, part) == wanted


def test_a_series_has_its_median_and_quartiles() -> None:
    assert (OURS.median, OURS.spread) == (20.0, (15.0, 25.0))
    assert (PEER.median, PEER.spread) == (45.0, (37.5, 62.5))


@pytest.mark.parametrize(
    ("target", "at_least", "met"),
    [(0.45, False, True), (0.44, False, False), (0.4, True, True), (0.5, True, False), (None, False, None)],
)
def test_a_ratio_is_of_the_medians_and_judged_by_its_target(
    target: float | None, at_least: bool, met: bool | None
) -> None:
    row = Row("pod ADD", OURS, PEER, target, at_least)
    assert row.ratio == pytest.approx(20 / 45)
    assert row.met is met
    verdict = {True: "met", False: "MISSED", None: ""}[met]
    wanted = "" if target is None else f"{'≥' if at_least else '≤'} {target}"
    assert cells(row)[:4] == ("pod ADD", "0.44", wanted, verdict)


@pytest.mark.parametrize("at_least", [True, False])
def test_a_ratio_that_is_its_target_meets_it(at_least: bool) -> None:
    assert Row("pod ADD", Series("ours", [20.0]), Series("Go", [40.0]), 0.5, at_least).met is True


def test_a_row_shows_both_sides_with_their_unit() -> None:
    found = cells(Row("memory", Series("after", [1234.5]), Series("before", [12.25]), unit="MB"))
    assert found[4:] == ("after", "1234 MB", "1234.5 … 1234.5", "before", "12.2 MB", "12.2 … 12.2")


@pytest.mark.parametrize("ours", [None, OURS])
def test_what_is_missing_is_shown_as_missing(ours: Series | None) -> None:
    """It has its row and its target, and is neither met nor missed."""
    row = Row("pod ADD", ours, None, 0.4, missing="netavark")
    assert (row.ratio, row.met) == (None, None)
    assert cells(row)[:5] == ("pod ADD", "-", "≤ 0.4", "missing", "netavark")


def test_the_tables_have_a_line_a_row() -> None:
    rows = [Row("pod ADD", OURS, PEER, 2.5), Row("a longer name", None, PEER, 1.0, missing="chain")]
    lines = text(rows).splitlines()
    assert len(lines) == 3
    assert lines[1].index("0.44") == lines[0].index("ratio") == lines[2].index("-  ")
    page = markdown(rows).splitlines()
    assert len(page) == 4
    assert {line.count("|") for line in page} == {11}
    assert page[2].startswith("| pod ADD | 0.44 | ≤ 2.5 | met | ours | 20.0 ms |")


def test_a_page_is_changed_between_its_marks_alone() -> None:
    page = "head\n<!-- a -->\nold\n<!-- b -->\ntail\n"
    changed = between(page, "<!-- a -->", "<!-- b -->", "new")
    assert changed == "head\n<!-- a -->\nnew\n<!-- b -->\ntail\n"
    assert between(changed, "<!-- a -->", "<!-- b -->", "new") == changed
    for without in (page.replace("a -->", ""), page.replace("b -->", ""), "b -->\na -->"):
        with pytest.raises(ValueError, match="the page has no"):
            between(without, "<!-- a -->", "<!-- b -->", "new")


@pytest.mark.parametrize(
    ("highest", "wanted"),
    [
        (1000.0, [0, 200, 400, 600, 800, 1000]),
        (73.0, [0, 20, 40, 60, 80]),
        (0.4, [0, 0.1, 0.2, 0.3, 0.4]),
        (5.0, [0, 1, 2, 3, 4, 5]),
        (0.0, [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_highest(highest: float, wanted: list[float]) -> None:
    assert plot.ticks(highest) == pytest.approx(wanted)


def test_a_plot_has_a_line_for_each_side() -> None:
    """Well formed, within its frame; lower on the page is less, further right is more."""
    lines = {"ours": [(0.0, 20.0), (1000.0, 25.0)], "Go & <co>": [(500.0, 120.0), (0.0, 50.0), (1000.0, 200.0)]}
    drawing = ElementTree.fromstring(plot.svg("One more pod", "pods", "ms", lines))
    space = "{http://www.w3.org/2000/svg}"
    paths = [each.get("points", "") for each in drawing.iter(f"{space}polyline")]
    points = [[tuple(map(float, at.split(","))) for at in path.split()] for path in paths]
    assert [len(path) for path in points] == [2, 3]
    for path in points:
        assert path == sorted(path)
        assert all(0 < x < plot.WIDTH and 0 < y < plot.HEIGHT for x, y in path)
    (x0, y0), (x1, y1) = points[0]
    assert x0 < x1 and y0 > y1
    assert points[1][2][1] < points[1][1][1] < points[1][0][1] < y1
    assert len(list(drawing.iter(f"{space}circle"))) == 5
    texts = [each.text for each in drawing.iter(f"{space}text")]
    assert {"One more pod", "pods", "ms", "ours", "Go & <co>", "0", "1000", "200"} <= set(texts)
    strokes = [each.get("stroke") for each in drawing.iter(f"{space}polyline")]
    assert len(set(strokes)) == 2


def test_nothing_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.svg("t", "x", "y", {"ours": []})


def test_the_readme_has_a_place_for_the_table() -> None:
    """With the marks that `make bench-readme` looks for, and every row's target between them."""
    source = (ROOT / "bench/run.py").read_text()
    start, end = re.findall(r'"(<!-- [^"]*bench[^"]* -->)"', source)
    page = (ROOT / "README.md").read_text()
    between(page, start, end, "")
