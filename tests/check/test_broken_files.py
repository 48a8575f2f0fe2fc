"""Whatever happens to one file of a built repository, `check` tells it and all else, and never dies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import Workshop
from tiny_encoder import EncoderWorkshop

from builder.check import check
from builder.finding import Finding
from builder.rule import Host

HOST = Host("26.08")
Change = Callable[[bytes], bytes | None]
CHANGES: dict[str, Change] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "one byte less": lambda whole: whole[:-1],
    "another kind of text": lambda _: b"foo: 1\n",
    "a list": lambda _: b"[1]",
    "an object": lambda _: b"{}",
    "null": lambda _: b"null",
    "numbers": lambda _: b'{"artifact": 1, "plan": {"models": [1, {"name": 2}]}}',
    "no text": lambda whole: bytes(reversed(whole)) + b"\xff\xfe",
    "deep": lambda _: b"[" * 100_000,
}
UNREADABLE: dict[str, Change] = {
    "a type that is none": lambda whole: whole.replace(b"TYPE_", b"TYPE_NOT_"),
    "a word for a number": lambda whole: b"max_batch_size: sixty\n" + whole,
    "a field that is none": lambda whole: b"foo: 1\n" + whole,
}
AT_FAULT = 'backend: "python" max_batch_size: -1\n'


@pytest.fixture(scope="module", params=["text_generation", "reranking", "tensors"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The deployment `tiny` of a pipeline, and beside it a model with a fault of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch:
        encodes = request.param != "text_generation"
        workshop = (
            EncoderWorkshop(folder, monkeypatch, request.param) if encodes else Workshop(folder, monkeypatch)
        )
        workshop.build()
    other = workshop.output / "other"
    (other / "1").mkdir(parents=True)
    (other / "config.pbtxt").write_text(AT_FAULT)
    (other / "1" / "model.py").touch()
    yield workshop.output


def change(repository: Path, file: Path, how: Change) -> Path:
    """Copy a repository with one file changed."""
    copy = repository.parent / "changed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(repository, copy)
    whole = how((repository / file).read_bytes())
    (copy / file).unlink()
    if whole is not None:
        (copy / file).write_bytes(whole)
    return copy


def configs(repository: Path) -> list[Path]:
    found = sorted(repository.glob("tiny*/config.pbtxt"))
    assert found
    return [path.relative_to(repository) for path in found]


def of(findings: list[Finding], path: Path) -> set[str]:
    return {one.code for one in findings if one.path == str(path)}


@pytest.mark.slow
@pytest.mark.parametrize("how", CHANGES)
def test_no_file_ends_the_check(built: Path, how: str) -> None:
    files = [path.relative_to(built) for path in sorted(built.rglob("*")) if path.is_file()]
    # of the code that was copied, one file stands for all
    chosen = [file for file in files if "backends" not in file.parts] + [
        next(file for file in files if file.suffix == ".py")
    ]
    for file in chosen:
        found = check(change(built, file, CHANGES[how]), host=HOST)
        assert file.parts[0] == "other" or "TRN116" in of(found, Path("other/config.pbtxt")), file


@pytest.mark.parametrize("how", UNREADABLE)
def test_a_config_that_cannot_be_read_is_told(built: Path, how: str) -> None:
    for config in configs(built):
        found = check(change(built, config, UNREADABLE[how]), host=HOST)
        assert of(found, config) & {"TRN101", "TRN102"}
        assert not [one for one in found if one.code == "TRN633"]
        assert "TRN116" in of(found, Path("other/config.pbtxt"))


@pytest.mark.parametrize("completes", [True, False])
def test_a_config_that_is_gone_is_told_once(built: Path, completes: bool) -> None:
    for config in configs(built):
        found = check(change(built, config, CHANGES["gone"]), host=Host("26.08", completes=completes))
        assert len(of(found, config) & {"TRN101", "TRN634"}) == 1, config
        assert not [one for one in found if one.code == "TRN633"]


def test_a_folder_of_somebody_else_needs_no_config(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"")
    assert "TRN634" not in {one.code for one in check(tmp_path, host=HOST)}
