"""The folders of one pass are what NVIDIA's onnxruntime backend takes, and what it would refuse is found.

The rules are in builder/rules/onnx_*.py. What a CPU can show a real Triton shows too: the backend of
backends/onnxruntime refuses a changed folder in the words of the finding.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

from native_backend_changes import CHANGES, HERE, Change

from builder import house
from builder.check import Choice, check, rules
from builder.cli import main

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from workbench.verdicts import Triton

# libraries that the builds need warn of themselves
pytestmark = pytest.mark.filterwarnings("ignore")

Built = Callable[[str], tuple[Path, str]]

PIPELINES = sorted({path.stem for path in house.folder("ensembles").glob("[!_]*.py")} - {"text_generation"})
RELEASES = ("24.10", "26.08")
# a changed graph is another artifact than the proven one, which is not what is asked here
BUT_THE_PROOF = Choice(ignore=("TRN633",))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--disable-auto-complete-config", "--gpus", "0")], ids=["", "strict"]
)
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_folder_passes(built: Built, pipeline: str, release: str, options: tuple[str, ...]) -> None:
    command = ["check", str(built(pipeline)[0]), "--triton", release, *options]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.stdout) == (0, "no findings\n")


@pytest.fixture
def changed(built: Built, tmp_path: Path) -> Callable[[Change], tuple[Path, str]]:
    """Give a repository with one fault, and the name of the model that has it."""

    def give(change: Change) -> tuple[Path, str]:
        repository = tmp_path / "repository"
        shutil.copytree(built(change.pipeline)[0], repository)
        (file,) = repository.glob("*/1/model.onnx")
        change.apply(file.parent.parent)
        return repository, file.parent.parent.name

    return give


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_fault_is_found_at_its_place(changed: Callable[[Change], tuple[Path, str]], change: Change) -> None:
    repository, model = changed(change)
    found = check(repository, host=change.host, choice=BUT_THE_PROOF)
    assert {one.code for one in found} == {change.code, *change.beside}
    one = next(one for one in found if one.code == change.code)
    assert (one.path, one.severity) == (f"{model}/{change.file}", change.severity)
    assert change.words in one.message
    assert one.remedy
    lines = (repository / model / "config.pbtxt").read_text().splitlines()
    marked = [number for number, line in enumerate(lines, 1) if line.endswith(HERE)]
    assert [one.line] == (marked or [0])


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with Triton(tmp_path_factory.mktemp("triton")) as running:
        yield running


REFUSED = {name: one for name, one in CHANGES.items() if one.severity == "error" and one.said != ""}


@pytest.mark.triton
@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_triton_refuses_it_too(
    changed: Callable[[Change], tuple[Path, str]], triton: Triton, tmp_path: Path, change: Change
) -> None:
    repository, model = changed(change)
    alone = tmp_path / "alone"
    shutil.copytree(repository / model, alone / model)
    verdict = triton.judge(alone)[model]
    assert not verdict.loaded
    assert (change.words if change.said is None else change.said) in verdict.reason


@pytest.mark.triton
@pytest.mark.parametrize("pipeline", ["embedding", "tabular", "tensors"])
def test_triton_takes_the_folder_as_it_is(
    built: Built, triton: Triton, pipeline: str, tmp_path: Path
) -> None:
    (file,) = built(pipeline)[0].glob("*/1/model.onnx")
    model = file.parent.parent
    shutil.copytree(model, tmp_path / "alone" / model.name)
    verdict = triton.judge(tmp_path / "alone")[model.name]
    assert verdict.loaded, verdict.reason


def test_there_is_a_fault_for_every_rule() -> None:
    ours = {one.code for one in rules() if one.function.__module__.startswith("builder.rules.onnx_")}
    assert ours | {"TRN651"} == {change.code for change in CHANGES.values()}
