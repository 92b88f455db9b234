"""Quantiles, distributions and plots say what was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import report


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (report.quantile(values, 0.5), report.quantile(values, 0.95)) == (50, 95)
    assert report.quantile([3.0], 0.95) == report.quantile([3.0], 0.0) == 3.0
    with pytest.raises(ValueError):
        report.quantile([], 0.5)


def test_a_distribution_ends_at_all_of_them() -> None:
    points = report.distribution([3.0, 1.0, 2.0, 2.0])
    assert points[0] == (1.0, 0.25)
    assert points[-1] == (3.0, 1.0)


@pytest.mark.parametrize("log_x", [False, True])
def test_a_plot_holds_every_line_inside_its_axes(log_x: bool) -> None:
    plot = report.line_plot(
        "A < B", "x", "y", {"one": [(8, 1), (32, 4)], "two": [(8, 0), (128, 2)]}, log_x=log_x
    )
    root = ElementTree.fromstring(plot)
    lines = [item.attrib["points"].split() for item in root if item.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [2, 2]
    for x, y in (map(float, point.split(",")) for line in lines for point in line):
        assert 70 <= x <= 630
        assert 40 <= y <= 340
    assert float(lines[0][1].split(",")[1]) == 40, "the largest value touches the top"
    assert "A < B" in {item.text for item in root}
