"""What is printed and drawn of a comparison: golden files, and what must be seen in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import made_rows
import pytest

from builder.comparing import figures
from builder.errors import ComparisonError
from builder.printing import comparison_page, comparisons

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, text: str) -> None:
    """Compare with a file; with $WRITE_GOLDEN set it is written instead."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    comparisons.show(made_rows.EVERY, Path("compare/smollm2"))
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    golden("table.txt", printed)
    # a failure is said in full beneath the table, and a variant's name is one word in it
    assert "onnx/int4 failed: smollm2 as onnx int4 does not answer like its source: <too far>" in printed
    assert all(re.search(rf"^ {row.variant} ", printed, re.MULTILINE) for row in made_rows.EVERY.rows)


def test_the_page() -> None:
    page = comparison_page.page(made_rows.EVERY)
    golden("page.html", page)
    assert "<too far>" not in page and "&lt;too far&gt;" in page
    # it stands alone: nothing is fetched, nothing runs
    assert not re.findall(r"https?:|<script|<link|@import|src=", page)


def test_every_plot_is_whole_and_has_its_front() -> None:
    page = comparison_page.page(made_rows.EVERY)
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == len(figures.PAIRS)
    for pair, svg in zip(figures.PAIRS, drawn, strict=True):
        root = ElementTree.fromstring(svg)
        served = {row.variant for row in made_rows.EVERY.rows if not row.failure}
        assert len(root.findall("circle")) == len(served)
        (line,) = root.findall("polyline")
        assert len(line.get("points", "").split()) == len(figures.front(pair, made_rows.EVERY.rows))


def test_fronts_by_hand() -> None:
    size, _, speed, *_ = (figures.front(pair, made_rows.EVERY.rows) for pair in figures.PAIRS)
    # the largest loses nothing, the next two trade size for loss; int8 is larger than q8_0 and loses more;
    # what is not served is on no front, however small it is
    assert size == ["onnx/fp32", "llamacpp/q8_0", "llamacpp/q4_k_m"]
    # more tokens are better: q8_0 is the fastest, and loses less than all that are slower but float32
    assert speed == ["onnx/fp32", "llamacpp/q8_0"]


def test_all_failures_are_named_at_the_end() -> None:
    with pytest.raises(ComparisonError, match="2 not served: smollm2 as onnx/int4, smollm2 as onnx/awq"):
        comparisons.require_all([made_rows.EVERY])
    comparisons.require_all([made_rows.comparison(made_rows.PLAIN, made_rows.EIGHT)])


def test_two_perplexities_of_the_same_weights_are_a_failure() -> None:
    twice = {"tokens": 10, "engine": 20.0, "transformers": 21.0, "apart": 0.05, "agree": False}
    other = made_rows.comparison(made_rows.served("onnx/int8", 1, 0.1, 1.0, twice=twice))
    with pytest.raises(ComparisonError, match="1 with two perplexities: smollm2 as onnx/int8"):
        comparisons.require_all([other])
    assert any("may not be the same weights" in line for line in comparisons.remarks(other))


def test_a_comparison_without_a_single_served_variant_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = made_rows.comparison(made_rows.REFUSED)
    comparisons.show(nothing, Path("there"))
    assert "serve one" not in capsys.readouterr().out
    assert "<svg" not in comparison_page.page(nothing)
