"""What `--graph` and `--mermaid` say of ensembles that are not whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from workbench import examples, mutations

from builder.cli import main


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    examples.write(mutations.SEEDS[2], tmp_path)
    return tmp_path


def draw(repository: Path, how: str = "--graph") -> str:
    return CliRunner().invoke(main, ["check", str(repository), how]).stdout


def test_an_ensemble_whose_config_cannot_be_read(ensemble: Path) -> None:
    config = ensemble / "m" / "config.pbtxt"
    config.write_text(config.read_text() + "\nbroken {")
    assert draw(ensemble) == "m (ensemble, its config cannot be read: see its findings)\n"
    assert draw(ensemble, "--mermaid") == "## m\n\nits config cannot be read: see its findings\n"
    shutil.rmtree(ensemble / "m")
    assert draw(ensemble) == "no ensemble here\n"


def test_a_step_whose_model_is_not_there(ensemble: Path) -> None:
    shutil.rmtree(ensemble / "second")
    drawn = draw(ensemble)
    assert "|-- step   second (no such model in the repository)\n" in drawn
    assert "(not read)" not in drawn
    assert "(not written)" not in drawn


def test_a_step_whose_config_cannot_be_read(ensemble: Path) -> None:
    (ensemble / "second" / "config.pbtxt").write_text("{")
    assert "|-- step   second (its config cannot be read: see its findings)\n" in draw(ensemble)


def test_a_step_that_maps_what_its_model_does_not_have(ensemble: Path) -> None:
    config = ensemble / "second" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "X"', 'name: "Z"'))
    assert "|     X <- first_Y: FP32[4] (no X in second)\n" in draw(ensemble)


def test_every_ensemble_has_a_section_of_its_own(ensemble: Path) -> None:
    shutil.copytree(ensemble / "m", ensemble / "n")
    assert draw(ensemble, "--mermaid").count("```mermaid\nflowchart LR\n") == 2
    assert "\n```\n\n## n\n\n```mermaid\n" in draw(ensemble, "--mermaid")
    assert "`-- output first_Y: FP32[4]\n\nn (ensemble, " in draw(ensemble)
