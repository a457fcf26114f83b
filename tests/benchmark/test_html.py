"""The page of a report: whole by itself, well-formed, and with everything that the report has."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise

import attrs
import numpy as np
import pytest
from made_reports import MACHINE, agreement, report, row, spread

from sleap_infer.benchmark.report.charts import (
    bar_chart,
    curve_chart,
    group_dots,
    latency_chart,
    scatter_chart,
    stacked_chart,
)
from sleap_infer.benchmark.report.html import as_html, require_templates
from sleap_infer.benchmark.report.labels import Box, place_labels
from sleap_infer.benchmark.report.ranking import rank
from sleap_infer.benchmark.report.schema import Absent, ColdStart, Report, Row, Scaling
from sleap_infer.benchmark.report.statistics import Spread
from sleap_infer.benchmark.report.svg import decades, linear, logarithmic, ticks
from sleap_infer.errors import BackendNotInstalledError
from sleap_infer.system.runtimes import install_command

TORCH = row("torch", "fp32", 1, 50.0)
ONNX = row("onnx", "fp32", 1, 100.0, build_seconds=10.0)
BATCHES = row("onnx", "int8", 4, 140.0, notes=("bottomup keeps in 32 bits: decoders.0",))
OFF = row(
    "openvino", "bf16", 1, 200.0, status="differs", agreement=agreement(4.0, False), reason="largest distance 4 px"
)
DEAD = Row("torch_compile", "fp32", 1, "failed", reason="ended by SIGSEGV & <no> message")
FULL = report(
    *rank([TORCH, ONNX, BATCHES, OFF, DEAD]),
    absent=(Absent("tensorrt", None, "no <GPU> here"), Absent("torch", "int8", "made by exporting")),
    scaling=(
        Scaling("Length", "frames", ((100.0, 9.0, 10.0, 11.0), (100000.0, 9.0, 10.0, 11.0))),
        Scaling("Animals", "animals", ((1.0, 2.0, 3.0, 4.0), (2.0, 3.0, 4.0, 5.0)), "ms"),
    ),
)
SVG = "{http://www.w3.org/2000/svg}"


def parsed(page: str) -> ET.Element:
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def words(element: ET.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def pictures(page: ET.Element) -> Iterator[ET.Element]:
    return page.iter(f"{SVG}svg")


@pytest.mark.parametrize(
    "given", [FULL, report(), report(DEAD), report(OFF), report(*rank([TORCH])), report(*rank([BATCHES]))]
)
def test_every_page_is_well_formed(given: Report) -> None:
    root = parsed(as_html(given))
    assert root.tag == "html"
    assert "sleap-infer benchmark 'a & b'" in words(root)


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    page = as_html(FULL)
    assert re.findall(r"(?:src|href|action|data)\s*=", page) == []
    assert "@import" not in page
    assert "url(" not in page
    assert "<script" not in page
    assert re.findall(r"\son\w+=", page) == []
    addresses = set(re.findall(r"https?://[^\"'\s<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_it_is_made_for_light_and_dark() -> None:
    page = as_html(FULL)
    assert "prefers-color-scheme: dark" in page
    light, dark = (set(re.findall(r"(--[\w]+):", part)) for part in page.split("prefers-color-scheme: dark")[:2])
    used = set(re.findall(r"var\((--\w+)\)", page)) - {"--hue"}
    assert used <= light
    assert used <= dark


def test_the_table_has_every_row_with_its_rank_or_its_reason() -> None:
    (table,) = parsed(as_html(FULL)).iter("table")
    lines = [words(line) for line in table.iter("tr")]
    starts = [line for line in lines if re.match(r"(\d|\N{EN DASH}) ", line)]
    assert [line.split()[:4] for line in starts] == [
        ["\N{EN DASH}", "openvino", "bf16", "1"],
        ["1", "onnx", "int8", "4"],
        ["2", "onnx", "fp32", "1"],
        ["3", "torch", "fp32", "1"],
        ["\N{EN DASH}", "torch_compile", "fp32", "1"],
    ]
    assert lines[lines.index(starts[0]) + 1] == "largest distance 4 px"
    assert "ended by SIGSEGV & <no> message" in starts[-1]
    assert "differs" in starts[0]
    assert "1,000" in starts[2]


def test_the_best_of_each_column_is_marked_and_never_in_a_row_that_differs() -> None:
    (table,) = parsed(as_html(FULL)).iter("table")
    best = {
        words(line).split()[1] + " " + words(line).split()[2]: [
            words(cell) for cell in line.iter("td") if "best" in cell.get("class", "")
        ]
        for line in table.iter("tr")
        if any("best" in cell.get("class", "") for cell in line.iter("td"))
    }
    assert [cell.split()[0] for cell in best["onnx int8"]] == ["140", "3.57"]
    assert "openvino bf16" not in best


def test_everything_else_is_there() -> None:
    text = words(parsed(as_html(FULL)))
    for item in (
        *("Some <fast> CPU", "avx512_vnni", "torch 2.9", "no <GPU> here", "torch int8", "two_flies.mp4"),
        *("2026-01-02T03:04:05+00:00", "abababababababab", "bottomup keeps in 32 bits: decoders.0"),
    ):
        assert item in text, item


def test_there_is_a_column_for_the_gpu_only_where_one_was_used() -> None:
    def heads(given: Report) -> list[str]:
        return [words(cell) for cell in parsed(as_html(given)).iter("th")]

    assert "GPU, MB" not in heads(FULL)
    with_gpu = report(row("torch", "fp32", 1, 50.0, device_mb=spread(900.0)))
    assert "GPU, MB" in heads(with_gpu)
    for given in (FULL, with_gpu):
        n_columns = len(heads(given))
        for line in next(parsed(as_html(given)).iter("tbody")).iter("tr"):
            assert sum(int(cell.get("colspan", "1")) for cell in line.iter("td")) == n_columns


def test_other_programs_at_work_are_mentioned() -> None:
    assert "Other programs used" not in as_html(attrs.evolve(FULL, busy_cores=0.1))
    assert f"Other programs used 1.5 of {MACHINE.cores} cores" in as_html(attrs.evolve(FULL, busy_cores=1.5))


def test_every_measured_row_is_in_every_chart() -> None:
    drawn = [set(text.text or "" for text in picture.iter(f"{SVG}text")) for picture in pictures(parsed(as_html(FULL)))]
    assert len(drawn) == 7  # speed, cold start, accuracy, latency, memory, two curves
    measured = {"torch fp32 b1", "onnx fp32 b1", "onnx int8 b4", "openvino bf16 b1"}
    for names in (drawn[0], drawn[1], drawn[4]):
        assert measured <= names
    assert measured - {"onnx int8 b4"} <= drawn[3]
    assert {"fp32", "int8", "bf16"} <= drawn[2]
    assert "torch_compile fp32 b1" not in set().union(*drawn)


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def test_bars_are_as_long_as_their_figures_and_whiskers_end_at_the_quartiles() -> None:
    chart = ET.fromstring(bar_chart([TORCH, ONNX], lambda one: one.end_to_end_fps, "t", "frames/s", descending=True))
    (first, second) = chart.iter(f"{SVG}rect")
    (left, long), (_, short) = (numbers(bar, "x", "width") for bar in (first, second))
    assert "onnx" in first.get("class", "")
    assert long == pytest.approx(2 * short, abs=0.2)
    whisker = next(line for line in chart.iter(f"{SVG}line") if line.get("class") == "whisker")
    low, high = numbers(whisker, "x1", "x2")
    assert low == pytest.approx(left + 0.99 * long, abs=0.2)
    assert high == pytest.approx(left + 1.01 * long, abs=0.2)
    assert words(first) == "onnx fp32 b1: 100 frames/s (99.0 to 101)"


def test_bars_of_poses_that_differ_are_hollow() -> None:
    chart = ET.fromstring(bar_chart([ONNX, OFF], lambda one: one.end_to_end_fps, "t", "frames/s", descending=True))
    kinds = [bar.get("class", "").split() for bar in chart.iter(f"{SVG}rect")]
    assert kinds == [["bar", "openvino", "off"], ["bar", "onnx", "on"]]


def test_parts_of_a_cold_start_stand_end_to_end() -> None:
    chart = ET.fromstring(stacked_chart([TORCH], "t", "s"))
    parts = [numbers(part, "x", "width") for part in chart.iter(f"{SVG}rect")]
    assert len(parts) == 4
    for (x, width), (following, _) in pairwise(parts):
        assert x + width == pytest.approx(following, abs=0.2)
    assert parts[1][1] == pytest.approx(6 * parts[0][1], rel=0.02)  # imports 0.6 s, Python 0.1 s


def test_latencies_go_from_p50_to_p99() -> None:
    chart = ET.fromstring(latency_chart([TORCH, ONNX], "t", "ms"))
    texts = [text.text for text in chart.iter(f"{SVG}text") if text.get("class") == "value"]
    assert texts == ["10.0 / 30.0", "20.0 / 60.0"]
    for bar in chart.iter(f"{SVG}rect"):
        x, width = numbers(bar, "x", "width")
        zero = 168.0
        assert width == pytest.approx(2 * (x - zero), abs=0.3)  # p99 is three times p50


def test_faster_is_higher_and_farther_off_is_to_the_right() -> None:
    chart = ET.fromstring(scatter_chart([TORCH, ONNX, OFF], "t"))
    places = {words(dot): numbers(dot, "cx", "cy") for dot in chart.iter(f"{SVG}circle")}
    assert places["openvino bf16 b1"][0] > places["onnx fp32 b1"][0] == places["torch fp32 b1"][0]
    assert places["openvino bf16 b1"][1] < places["onnx fp32 b1"][1] < places["torch fp32 b1"][1]


def test_a_flat_curve_is_flat_and_a_wide_range_is_drawn_by_powers_of_ten() -> None:
    series = Scaling("Length", "frames", tuple((10.0**power, 9.0, 10.0, 11.0) for power in (2, 3, 4, 5)))
    chart = ET.fromstring(curve_chart(series))
    (line,) = chart.iter(f"{SVG}polyline")
    points = [tuple(map(float, place.split(","))) for place in line.get("points", "").split()]
    assert len({y for _, y in points}) == 1
    steps = [round(b[0] - a[0], 0) for a, b in pairwise(points)]
    assert len(set(steps)) == 1
    (band,) = chart.iter(f"{SVG}polygon")
    assert len(band.get("points", "").split()) == 8
    assert {"100", "1,000", "10,000", "100,000"} <= {text.text for text in chart.iter(f"{SVG}text")}


def rectangle(text: ET.Element) -> Box:
    """A box around a text of the scatter chart, of which letters are at least 6 px wide and 10 px high."""
    x, y = numbers(text, "x", "y")
    return Box(x, y - 8, x + 6 * len(text.text or ""), y + 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_rows", [3, 20, 60])
def test_labels_of_the_scatter_chart_never_overlap(seed: int, n_rows: int) -> None:
    random = np.random.default_rng(seed)
    rows = [
        row(
            str(random.choice(["torch", "onnx", "openvino"])),
            str(random.choice(["fp32", "fp16", "bf16", "int8"])),
            1 + 3 * (number % 2),
            50 + float(random.normal(0, 5)),  # all near each other, as backends of one machine are
            agreement=agreement(float(random.choice([0.0, 0.002, 0.003]))),
        )
        for number in range(n_rows)
    ]
    chart = ET.fromstring(scatter_chart(rows, "t"))
    labels = [rectangle(text) for text in chart.iter(f"{SVG}text") if "name" in text.get("class", "").split()]
    dots = [
        Box(x - r, y - r, x + r, y + r)
        for x, y, r in (numbers(dot, "cx", "cy", "r") for dot in chart.iter(f"{SVG}circle"))
    ]
    assert labels
    assert len(dots) == n_rows
    for index, label in enumerate(labels):
        assert Box(0, 0, 640, 330 - 44).contains(label)
        assert not any(label.overlaps(other) for other in labels[index + 1 :] + dots)


def test_a_label_is_as_near_to_its_dot_as_there_is_space_and_left_out_where_there_is_none() -> None:
    area = Box(0, 0, 200, 100)
    (alone,) = place_labels([(50, 50, 5)], [(20, 10)], area)
    assert alone is not None
    assert 55 < alone.left < 65
    assert (alone.top, alone.bottom) == (45, 55)
    (at_the_edge,) = place_labels([(190, 50, 5)], [(20, 10)], area)
    assert at_the_edge is not None
    assert area.contains(at_the_edge)
    assert place_labels([(50, 50, 5)], [(300, 10)], area) == [None]


def test_dots_of_one_backend_that_touch_share_a_label() -> None:
    near, int8 = row("onnx", "fp32", 4, 101.0), row("onnx", "int8", 1, 102.0)
    groups = group_dots([(ONNX, 10.0, 1.0), (TORCH, 10.0, 2.0), (int8, 30.0, 1.0), (near, 20.0, 1.0)])
    assert [[one.name for one, _, _ in group] for group in groups] == [
        ["torch fp32 b1"],
        ["onnx fp32 b1", "onnx int8 b1", "onnx fp32 b4"],
    ]


def test_a_single_repeat_has_no_quartiles() -> None:
    once = {name: Spread.of([value]) for name, value in (("end_to_end_fps", 50.0), ("forward_ms", 10.0))}
    cold = ColdStart(*map(Spread.of, ([1.0], [0.1], [0.6], [0.2], [0.1])))
    one = row("torch", "fp32", 1, 50.0, **once, cold_start_s=cold, host_mb=Spread.of([300.0]))
    page = as_html(report(*rank([one]), settings=attrs.evolve(report().settings, repeats=1)))
    assert "quartile" not in page
    assert 'class="whisker"' not in page
    assert "torch fp32 b1: 50.0 frames/s<" in page
    assert "50.0<small>" not in page
    assert 'class="whisker"' in as_html(FULL)


def test_without_jinja2_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleap_infer.benchmark.report.html.find_spec", lambda name: None)
    for write in (require_templates, lambda: as_html(FULL)):
        with pytest.raises(BackendNotInstalledError, match=re.escape(install_command("report"))):
            write()


def test_a_backend_of_another_package_has_a_colour_too() -> None:
    page = as_html(report(*rank([row("some backend", "fp32", 1, 50.0)])))
    parsed(page)
    assert re.search(r":root \{ --hue: var\(--other\); \}", page)


def test_scales_and_ticks() -> None:
    assert linear(0, 5, 0, 100)(2) == 40
    assert logarithmic(0.01, 1, 0, 100)(0.0) == 0
    assert logarithmic(0.01, 1, 0, 100)(0.1) == pytest.approx(50)
    for highest in (0.003, 0.7, 1, 9.99, 10, 123, 98765):
        marks = ticks(highest)
        assert marks[0] == 0
        assert marks[-2] < highest <= marks[-1]
        assert 3 <= len(marks) <= 9
    assert ticks(0) == [0, 1]
    assert decades(1, 1) == [1, 10]
