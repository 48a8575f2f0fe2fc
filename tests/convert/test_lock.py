"""builder.lock: written by a build, honoured by the next one, which refuses what has changed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from click.testing import CliRunner, Result

from builder import lock, subjects
from builder.cli import main
from builder.convert import Artifact
from builder.errors import LockError
from builder.lock import Pins, Source, Way
from builder.plan import Options

PROGRAM = """
import sys
from pathlib import Path
from builder import lock, subjects
pins = lock.read(Path(sys.argv[1]), "mine", moving=len(sys.argv) > 2)
print(subjects.read("mine", "acme/tiny", None, None, pins.revision)[1].revision)
"""

ARTIFACT = Artifact("key", Path(), Path(), Path(), {}, {}, {}, {}, {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "builder.lock"


def told(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))["models"]


def change(path: Path, edit: Callable[[Any], None]) -> None:
    whole = json.loads(path.read_text(encoding="utf-8"))
    edit(whole["models"])
    path.write_text(json.dumps(whole), encoding="utf-8")


def test_a_build_pins_what_it_took_and_the_next_one_takes_the_same(
    workshop: tiny.Workshop, path: Path
) -> None:
    built = workshop.build(lock_file=path)
    assert built.locked == path
    (model,) = told(path).values()
    assert model["source"]["origin"] == "checkpoint"
    assert model["source"]["sha256"] == built.artifact.source_digests
    way = model["targets"]["onnx"]
    assert (way["triton"], way["image"], way["digest"]) == ("24.10", "", "")
    assert way["tools"] == built.artifact.tools
    assert str(workshop.folder) not in path.read_text(encoding="utf-8")
    before = path.read_bytes()
    assert workshop.build(lock_file=path).locked is None
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.glob(".builder.lock*")] == []


def test_another_checkpoint_is_refused_before_it_is_converted_and_taken_when_told(
    workshop: tiny.Workshop, path: Path
) -> None:
    workshop.build(lock_file=path)
    pinned, converted = path.read_bytes(), workshop.runs()
    config = workshop.checkpoint / "config.json"
    config.write_text(config.read_text().replace("{", '{"_comment": "another",', 1))
    with pytest.raises(LockError) as refused:
        workshop.build(lock_file=path, output=workshop.folder / "second")
    assert f"tiny is not what {path} pins" in refused.value.found
    assert "file config.json: " in refused.value.found
    assert "model.safetensors" not in refused.value.found
    assert "--update-lock" in refused.value.remedy
    assert (workshop.runs(), path.read_bytes()) == (converted, pinned)
    assert not (workshop.folder / "second").exists()
    other = workshop.folder / "third"
    assert workshop.build(lock_file=path, update_lock=True, output=other).locked == path
    assert workshop.build(lock_file=path, output=other).locked is None


def test_update_replaces_the_entry_of_that_model_alone(workshop: tiny.Workshop, path: Path) -> None:
    workshop.build(lock_file=path)
    workshop.build(lock_file=path, served_name="other")
    change(path, lambda models: models["tiny"]["source"]["sha256"].update({"config.json": "0" * 64}))
    other = told(path)["other"]
    with pytest.raises(LockError, match=r"pinned is 000000000000\.\.\."):
        workshop.build(lock_file=path)
    workshop.build(lock_file=path, update_lock=True)
    assert told(path)["tiny"] == other
    assert sorted(told(path)) == ["other", "tiny"]
    workshop.build(lock_file=path)


def test_other_tools_are_refused_before_anything_is_fetched(workshop: tiny.Workshop, path: Path) -> None:
    workshop.build(lock_file=path)
    change(path, lambda models: models["tiny"]["targets"]["onnx"]["tools"].update(numpy="0.0.1", gone="2.0"))
    converted = workshop.runs()
    with pytest.raises(LockError) as refused:
        workshop.build(lock_file=path)
    assert "tool numpy: 1." in refused.value.found
    assert "pinned is 0.0.1" in refused.value.found
    assert "tool gone: none, pinned is 2.0" in refused.value.found
    assert workshop.runs() == converted


def test_the_pinned_container_is_planned_for(workshop: tiny.Workshop, path: Path) -> None:
    workshop.build(lock_file=path, triton="25.06")
    assert workshop.build(lock_file=path).plan.container.tag == "25.06"
    with pytest.raises(LockError, match=r"--triton 26\.03, pinned is 25\.06"):
        workshop.build(lock_file=path, triton="26.03")
    moved = workshop.build(lock_file=path, triton="26.03", update_lock=True, served_name="tiny")
    assert moved.plan.container.tag == told(path)["tiny"]["targets"]["onnx"]["triton"] == "26.03"


@pytest.mark.parametrize(
    ("triton", "why"), [("26.08", "NVIDIA has not built "), ("31.02", "--triton '31.02' is not in the table")]
)
def test_a_pinned_container_that_cannot_do_it_is_said_of_the_lock(triton: str, why: str, path: Path) -> None:
    subject, _ = subjects.read("smollm2", None, None)
    pins = Pins(path, subject.name, ways={"llmapi": Way(triton)})
    with pytest.raises(LockError) as refused:
        lock.pinned(subject, Options(gpu="h200", target="llmapi"), pins)
    assert refused.value.found.startswith(f"{path} pins smollm2 to Triton {triton}: {why}")
    assert refused.value.remedy == ("take the lock from version control again, or move on with --update-lock")


def test_each_target_is_pinned_for_itself(path: Path) -> None:
    subject, found = subjects.read("smollm2", None, None)
    assert found is not None
    digests = {"model.gguf": "1" * 64}
    pins = Pins(path, subject.name)
    for line in (Options(gpu="h200", target="vllm"), Options(gpu="h200", target="llmapi")):
        planned = lock.pinned(subject, line, pins)
        made = dataclasses.replace(ARTIFACT, source_digests=digests)
        assert lock.write(pins, planned, found, made) == path
        pins = lock.read(path, subject.name)
    ways = told(path)["smollm2"]["targets"]
    assert {name: way["image"].rpartition(":")[2] for name, way in ways.items()} == {
        "vllm": "26.06-vllm-python-py3",
        "llmapi": "26.07-trtllm-python-py3",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no lock"),
        ("[]", "names no models"),
        ('{"format": 2, "models": {}}', "of format 2, not 1"),
        ('{"format": 1, "models": {"tiny": {}}}', "not as a build writes it"),
        (
            '{"format": 1, "models": {"tiny": {"source": {"x": 1}, "targets": {}}}}',
            "not as a build writes it",
        ),
        ('{"format": 1, "models": {"tiny": []}}', "not as a build writes it"),
        ("[" * 100_000, "is no lock"),
    ],
)
def test_what_is_no_lock_is_refused_and_left(
    workshop: tiny.Workshop, path: Path, text: str, said: str
) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=said) as refused:
        workshop.build(lock_file=path)
    assert "remove it" in refused.value.remedy
    assert path.read_text(encoding="utf-8") == text
    assert not workshop.output.exists()


def test_a_recipe_s_lock_lies_beside_it() -> None:
    assert lock.beside("smollm2") == Path("builder.lock")
    assert lock.beside("models/mine.toml") == Path("models/builder.lock")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A stand-in for `docker image inspect`, which prints what Docker's own does: NAME@sha256:DIGEST."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()

    def knows(digest: str) -> None:
        line = f"echo nvcr.io/nvidia/tritonserver@{digest}" if digest else "exit 1"
        # image inspect --format TEMPLATE NAME
        program.write_text(f'#!/bin/sh\n[ $# = 5 ] && [ "$1 $2 $3" = "image inspect --format" ] && {line}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return knows


def test_an_image_of_another_digest_is_refused(docker: Callable[[str], None], path: Path) -> None:
    subject, found = subjects.read("smollm2", None, None)
    assert found is not None
    planned = lock.pinned(subject, Options(gpu="h200", target="llmapi"), Pins())
    docker("")
    assert lock.image_digest(lock.image(planned)) == ""
    docker("sha256:abc")
    assert lock.image_digest(lock.image(planned)) == "sha256:abc"
    way = Way("26.07", lock.image(planned), "sha256:abc", lock.tools(planned))
    pins = Pins(path, "smollm2", Source("", "", {}), {"llmapi": way})
    lock.require_tools(planned, found, pins)
    docker("sha256:def")
    with pytest.raises(LockError, match="python-py3 is sha256:def here, pinned is sha256:abc"):
        lock.require_tools(planned, found, pins)
    docker("")
    lock.require_tools(planned, found, pins)


def test_the_pinned_revision_is_read_and_not_the_newest(tmp_path: Path, path: Path) -> None:
    old, new = "a" * 40, "b" * 40
    home = tmp_path / "hub" / "models--acme--tiny"
    for commit in (old, new):
        tiny.checkpoint(home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(new)
    source = {"origin": "acme/tiny", "revision": old, "sha256": {}}
    path.write_text(json.dumps({"format": 1, "models": {"mine": {"source": source, "targets": {}}}}))
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for words, commit in (([], old), (["update"], new)):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path), *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == commit, done.stderr


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_line(workshop: tiny.Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BUILDER_LOCK")
    words = ("tiny", "--checkpoint", workshop.checkpoint)
    built = run("build", *words, "--output", workshop.output, "--no-verify", "--triton", "25.06")
    assert "pinned in builder.lock: its source, 25.06 and the tools" in built.stdout, built.output
    assert [one.name for one in folder.iterdir()] == ["builder.lock"]
    assert "(25.06)" in run("plan", *words).stdout
    assert "(24.10)" in run("plan", *words, "--update-lock").stdout
    assert "(24.10)" in run("plan", *words, "--lock", "none").stdout
    refused = run("plan", *words, "--triton", "26.03")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--triton 26.03, pinned is 25.06" in refused.stderr
    absent = run("build", *words, "--lock", "nowhere/builder.lock")
    assert absent.exit_code == 2
    assert "may not be written" in absent.stderr
