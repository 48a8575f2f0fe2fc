"""A file that cannot be read is a finding of its own, and the rest is checked."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import watchdog
from workbench import examples

from builder import reading
from builder.check import Choice, check
from builder.finding import Finding

CONFIG = 'backend: "python"\n' + examples.TENSORS
LONG = "x" * 5_000
AT_FAULT = CONFIG + "max_batch_size: -1\n"
NAMES = {
    "label_filename": CONFIG.replace('"Y"', f'"Y" label_filename: "{LONG}"'),
    "default_model_filename": CONFIG + f'default_model_filename: "{LONG}"',
    "runtime": f'backend: "mine" runtime: "{LONG}"' + examples.TENSORS,
    "backend": f'backend: "{LONG}"' + examples.TENSORS,
    "EXECUTION_ENV_PATH": CONFIG + 'parameters { key: "EXECUTION_ENV_PATH" value {'
    f' string_value: "$$TRITON_MODEL_DIRECTORY/{LONG}" }} }}',
    "input_data_file": CONFIG + 'model_warmup { name: "w" batch_size: 1 inputs { key: "X" value {'
    f' data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "{LONG}" }} }} }}',
    "data_file": CONFIG
    + 'sequence_batching { state { input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]'
    f' initial_state {{ name: "i" data_type: TYPE_FP32 dims: [ 1 ] data_file: "{LONG}" }} }} }}',
    "gpt_model_path": 'backend: "tensorrtllm"'
    + f'parameters {{ key: "gpt_model_path" value {{ string_value: "/models/m/{LONG}" }} }}'
    + examples.TENSORS,
}


def write(repository: Path, text: str = CONFIG, name: str = "m") -> Path:
    path = repository / name
    (path / "1").mkdir(parents=True)
    (path / "config.pbtxt").write_text(text)
    (path / "1" / "model.py").write_text(examples.IDENTITY)
    return path


def built(repository: Path) -> Path:
    """Write what `builder build` leaves in the version of a front, as far as the rules look at it."""
    version = write(repository) / "1"
    (version / "backends").mkdir()
    (version / "tokenizer").mkdir()
    (version / "tokenizer" / "tokenizer.json").write_text("{}")
    (version / "settings.json").write_text("{}")
    return version


def unreadable(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.code == "TRN013"]


@pytest.mark.parametrize("field", NAMES)
def test_a_name_that_is_too_long_ends_nothing(field: str, tmp_path: Path) -> None:
    write(tmp_path, NAMES[field])
    write(tmp_path, AT_FAULT, name="other")
    found = check(tmp_path)
    assert "TRN116" in [one.code for one in found if one.model == "other"]
    told = unreadable(found)
    assert [one.path for one in told] == ["m/config.pbtxt"]
    assert "File name too long" in told[0].message
    assert len(told[0].message) < 200


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("settings.json", json.dumps({"model": LONG})),
        ("manifest.json", json.dumps({"artifact": {"sha256": {LONG: "0"}}})),
    ],
)
def test_a_long_name_in_what_we_wrote(file: str, text: str, tmp_path: Path) -> None:
    (built(tmp_path) / file).write_text(text)
    write(tmp_path, AT_FAULT, name="other")
    found = check(tmp_path)
    assert unreadable(found)
    assert "TRN116" in [one.code for one in found]


def test_every_rule_that_meets_it_tells_it_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    (path / "1" / "model.py").write_text("#" * (reading.LARGEST + 1))
    assert [(one.path, one.severity) for one in unreadable(check(tmp_path))] == [("m/1/model.py", "error")]


def test_it_can_be_left_out_like_every_code(tmp_path: Path) -> None:
    write(tmp_path, "# check: ignore TRN013\n" + NAMES["label_filename"])
    assert unreadable(check(tmp_path)) == []
    (tmp_path / "m" / "config.pbtxt").write_text(NAMES["label_filename"])
    assert unreadable(check(tmp_path, choice=Choice(select=("TRN3",)))) == []
    assert unreadable(check(tmp_path, choice=Choice(select=("TRN0", "TRN3")))) != []


def test_memory_of_a_process_is_no_file_to_read() -> None:
    with pytest.raises(OSError) as raised:
        reading.content(Path("/proc/self/mem"))
    assert raised.value.filename == "/proc/self/mem"


@pytest.mark.parametrize("read", [reading.content, reading.lines, reading.digest, reading.json_of])
def test_a_pipe_is_not_waited_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no plain file"):
        read(tmp_path / "pipe")


def test_a_folder_that_loops(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert [one.code for one in check(tmp_path / "loop")] == ["TRN001"]
    assert [one.code for one in check(tmp_path / LONG)] == ["TRN001"]


@pytest.fixture(
    params=[
        "m",
        "m/config.pbtxt",
        "m/1",
        "m/1/model.py",
        "m/labels.txt",
        "m/warmup",
        "m/1/settings.json",
        "m/1/manifest.json",
        "m/1/model.onnx",
    ]
)
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file or folder of a model that no one may read."""
    version = built(tmp_path)
    config = version.parent / "config.pbtxt"
    config.write_text(
        NAMES["input_data_file"].replace(LONG, "x").replace('"Y"', '"Y" label_filename: "labels.txt"')
    )
    (version.parent / "labels.txt").write_text("cat\n" * 4)
    (version.parent / "warmup").mkdir()
    (version.parent / "warmup" / "x").write_bytes(bytes(16))
    (version / "manifest.json").write_text('{"artifact": {"sha256": {}}}')
    (version / "model.onnx").write_bytes(b"\x08\x07")
    path = tmp_path / request.param
    path.chmod(0)
    yield path
    path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; run as another user")
def test_what_may_not_be_read(closed: Path, tmp_path: Path) -> None:
    write(tmp_path, AT_FAULT, name="other")
    found = check(tmp_path)
    assert "TRN116" in [one.code for one in found]
    told = unreadable(found)
    assert told
    assert all("Permission denied" in one.message for one in told)
    assert any((tmp_path / one.path).is_relative_to(closed) for one in told)


def linked(repository: Path, place: str, target: str | Path) -> None:
    path = repository / place
    if path.is_dir():
        path.rename(repository.parent / "away")
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "place", ["m/1/model.py", "m/config.pbtxt", "m/1/manifest.json", "m/labels.txt", "m/1/more.onnx"]
)
@pytest.mark.parametrize("target", ["../outside/secret", "/etc/hostname", "/proc/self/mem"])
def test_a_symlink_out_of_the_folder_is_not_read(place: str, target: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    built(repository)
    config = repository / "m" / "config.pbtxt"
    config.write_text(CONFIG.replace('"Y"', '"Y" label_filename: "labels.txt"'))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret\n")
    real = tmp_path / "outside" / "secret" if target.startswith("..") else Path(target)
    linked(repository, place, real)
    watched = watchdog.check(repository)
    outside = {os.path.realpath(real), str(tmp_path / "outside")}
    assert outside.isdisjoint(watched.read)
    told = [one for one in watched.findings if one["code"] == ("TRN322" if "labels" in place else "TRN013")]
    assert [one["path"] for one in told] == (
        [] if place.endswith("onnx") else [place if "labels" not in place else "m/config.pbtxt"]
    )
    assert all(one["severity"] == "warning" for one in told if one["code"] == "TRN013")


def test_a_model_that_is_a_symlink_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "outside")
    write(tmp_path / "repository", name="other")
    (tmp_path / "repository" / "m").symlink_to(tmp_path / "outside" / "m")
    watched = watchdog.check(tmp_path / "repository")
    assert not [path for path in watched.read if path.startswith(str(tmp_path / "outside"))]
    assert [(one["code"], one["severity"]) for one in watched.findings] == [("TRN013", "warning")]


def test_symlinks_within_the_checked_folders_are_followed(tmp_path: Path) -> None:
    """A ConfigMap's mount: config.pbtxt -> ..data/config.pbtxt, ..data -> ..2026_11_21."""
    path = write(tmp_path / "repository", AT_FAULT)
    (path / "..2026_11_21").mkdir()
    (path / "config.pbtxt").rename(path / "..2026_11_21" / "config.pbtxt")
    (path / "..data").symlink_to("..2026_11_21")
    (path / "config.pbtxt").symlink_to("..data/config.pbtxt")
    (tmp_path / "link").symlink_to("repository")
    for repository in (tmp_path / "repository", tmp_path / "link"):
        assert [one.code for one in check(repository)] == ["TRN116"]


@pytest.mark.parametrize("name", ["../../../secret", "/etc/hostname", "/proc/kmsg", "/dev/zero", "pipe"])
def test_a_manifest_names_what_is_in_its_version(name: str, tmp_path: Path) -> None:
    version = built(tmp_path / "repository")
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(version / "pipe")
    (version / "manifest.json").write_text(json.dumps({"artifact": {"sha256": {name: "0"}}}))
    watched = watchdog.check(tmp_path / "repository")
    assert watched.codes == ["TRN633"]
    assert {str(tmp_path / "secret"), "/etc/hostname", "/proc/kmsg", "/dev/zero"}.isdisjoint(watched.read)


def test_dots_after_a_symlink_lead_where_the_kernel_goes(tmp_path: Path) -> None:
    path = write(tmp_path / "there" / "repository")
    (path / "1" / "model.py").write_text("def (")
    (tmp_path / "there" / "folder").mkdir()
    (tmp_path / "link").symlink_to("there/folder")
    assert [one.code for one in check(tmp_path / "link" / ".." / "repository")] == ["TRN622"]


def test_a_broken_read_says_where(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, reading.opened(write(tmp_path) / "config.pbtxt"):
        raise OSError(errno.EIO, "Input/output error")
    assert raised.value.filename == str(tmp_path / "m" / "config.pbtxt")
