"""Engines: where one can be built, the command that does it, and a build with a stand-in for trtexec."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import trtexec
from onnx import TensorProto, helper, save
from tiny_encoder import EncoderWorkshop

from builder import check, compiling, engine_file, pipeline
from builder.compiling import Machine
from builder.deployment import Options as DeployOptions
from builder.deployment import deployment
from builder.errors import ConversionError, UsageError
from builder.plan import Options, plan
from builder.rule import Host
from builder.subjects import read
from builder.targets import tensorrt

FOR_H200 = plan(read("minilm", None, None)[0], Options(target="tensorrt", gpu="h200")).compilation
GPU_ONLY = Machine(("9.0",), "", "", "there is no docker command")
PROGRAM = Path(trtexec.__file__)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute": ()}, ["no NVIDIA GPU", "9.0"]),
        ({"compute": ("8.9", "7.5")}, ["8.9, 7.5", "the engine is for 9.0"]),
        ({}, ["tritonserver:26.08-py3", "there is no docker command"]),
        ({"tool": "/usr/bin/trtexec"}, ["tritonserver:26.08-py3"]),
        ({"tool": "/usr/bin/trtexec", "release": "25.12"}, ["tritonserver:26.08-py3"]),
        ({"release": "26.08"}, ["tritonserver:26.08-py3"]),
    ],
)
def test_where_no_engine_can_be_built_it_is_said_why(changes: dict[str, Any], words: list[str]) -> None:
    problem = compiling.obstacle(FOR_H200, dataclasses.replace(GPU_ONLY, **changes))
    assert all(word in problem for word in words), problem


def test_inside_the_image_trtexec_runs_as_it_is() -> None:
    inside = dataclasses.replace(GPU_ONLY, tool="/usr/bin/trtexec", release="26.08")
    assert compiling.obstacle(FOR_H200, inside) == ""
    command = compiling.command(FOR_H200, inside, Path("/anywhere"))
    assert command == ["/usr/bin/trtexec", *FOR_H200.arguments]


def test_elsewhere_the_image_runs_it_in_the_folder_of_the_graph_as_this_user() -> None:
    outside = dataclasses.replace(GPU_ONLY, docker=None)
    assert compiling.obstacle(FOR_H200, outside) == ""
    command = compiling.command(FOR_H200, outside, Path("/a folder"))
    image = command.index(FOR_H200.image)
    assert command[image + 1 :] == list(FOR_H200.arguments)
    options = dict(zip(command[3:image:2], command[4 : image + 1 : 2], strict=True))
    assert command[:3] == ["docker", "run", "--rm"]
    assert options == {
        "--gpus": "all",
        "--user": f"{os.getuid()}:{os.getgid()}",
        "--volume": "/a folder:/engine",
        "--workdir": "/engine",
        "--entrypoint": "/usr/src/tensorrt/bin/trtexec",
    }


def docker_that_runs_trtexec(folder: Path) -> str:
    """Write a `docker` that takes our `run` alone, as a container of the image would; return its PATH."""
    folder.mkdir()
    program = folder / "docker"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, subprocess, sys\n"
        "words = sys.argv[1:]\n"
        "assert words[:2] == ['run', '--rm'], words\n"
        "image = next(i for i, word in enumerate(words) if word.startswith('nvcr.io/'))\n"
        "told = dict(zip(words[2:image:2], words[3:image:2]))\n"
        "outside, inside = told['--volume'].rsplit(':', 1)\n"
        "assert inside == told['--workdir'] and told['--entrypoint'].endswith('/trtexec'), told\n"
        "print(told['--gpus'], told['--user'])\n"
        f"command = [{sys.executable!r}, {str(PROGRAM)!r}, *words[image + 1:]]\n"
        "sys.exit(subprocess.run(command, cwd=outside).returncode)\n"
    )
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_script_builds_the_engine_of_its_folder(tmp_path: Path) -> None:
    home = tmp_path / "a folder's"
    home.mkdir()
    (home / "model.onnx").touch()
    script = home / engine_file.SCRIPT
    script.write_text(compiling.script(FOR_H200))
    environment = {**os.environ, "PATH": docker_that_runs_trtexec(tmp_path / "bin"), "GPUS": "device=1"}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["device=1", f"{os.getuid()}:{os.getgid()}"]
    assert (home / "model.plan").read_bytes() == trtexec.engine()
    assert not (home / "model.plan.part").exists()


def test_the_script_leaves_no_engine_where_trtexec_fails(tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_text("the old one")
    script = tmp_path / engine_file.SCRIPT
    script.write_text(compiling.script(FOR_H200))
    environment = {**os.environ, "PATH": docker_that_runs_trtexec(tmp_path / "bin")}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Could not open file model.onnx" in done.stderr
    assert (tmp_path / "model.plan").read_text() == "the old one"


def test_what_a_person_is_shown_is_the_script(tmp_path: Path) -> None:
    words = shlex.split(compiling.shell(FOR_H200).replace("\\\n", ""))
    assert words == compiling.in_container(FOR_H200, "$PWD", "$(id -u):$(id -g)", "${GPUS:-all}")


@pytest.mark.parametrize(
    ("dims", "bounds", "fits"),
    [
        (["rows", 2], {"x": {"min": (1, 2), "opt": (4, 2), "max": (8, 2)}}, True),
        ([8, 2], {}, True),
        (["rows", 2], {}, False),
        ([8, 2], {"x": {"min": (1, 2), "opt": (4, 2), "max": (8, 2)}}, False),
        (["rows", 2], {"x": {"min": (1, 2), "opt": (4, 2), "max": (8, 3)}}, False),
        (["rows", 2], {"x": {"min": (1,), "opt": (4,), "max": (8,)}}, False),
        ([8, 2], {"y": {"min": (1,), "opt": (4,), "max": (8,)}}, False),
    ],
)
def test_shapes_are_planned_for_what_the_graph_leaves_open(
    tmp_path: Path, dims: list[Any], bounds: dict[str, Any], fits: bool
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
    )
    save(helper.make_model(graph), tmp_path / "model.onnx")
    planned = dataclasses.replace(FOR_H200, profile=bounds)
    if fits:
        compiling.require_profile(planned, tmp_path / "model.onnx")
    else:
        with pytest.raises(ConversionError, match=r"^Bug: .* [xy] \["):
            compiling.require_profile(planned, tmp_path / "model.onnx")


# -- whole builds ---------------------------------------------------------------------------------


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderWorkshop:
    made = EncoderWorkshop(tmp_path, monkeypatch, "image_classification")
    monkeypatch.setattr(tensorrt, "convert", made.exported)
    monkeypatch.setattr(tensorrt, "REQUIREMENTS", {"json": "json"})
    return made


def build(workshop: EncoderWorkshop, **more: Any) -> pipeline.Built:
    return workshop.build(target="tensorrt", gpu="h200", **more)


def with_a_gpu(monkeypatch: pytest.MonkeyPatch, trtexec_path: Path) -> None:
    machine = Machine(("9.0",), "26.08", str(trtexec_path), None)
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, compilation: machine))


def program(folder: Path, text: str = "") -> Path:
    """Write a trtexec that checks its arguments and writes an engine, or one that does as told."""
    path = folder / "trtexec"
    path.write_text(text or f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    path.chmod(0o755)
    return path


def test_without_a_gpu_all_but_the_engine_is_published(workshop: EncoderWorkshop) -> None:
    built = build(workshop)
    folder = workshop.output / "tiny_encoder" / "1"
    assert built.engine is None
    assert sorted(path.name for path in folder.iterdir()) == ["build-engine.sh", "engine.json", "model.onnx"]
    assert (folder / "build-engine.sh").stat().st_mode & 0o111
    told = json.loads((folder / "engine.json").read_text())
    assert (told["compute"], told["triton"], told["result"]) == ("9.0", "26.08", "model.plan")
    manifest = json.loads((workshop.output / "tiny" / "1" / "manifest.json").read_text())
    assert manifest["plan"]["compilation"]["compute"] == told["compute"]
    assert told["sha256"] == manifest["artifact"]["sha256"]["model/model.onnx"]
    found = check.check(workshop.output, host=Host("26.08", completes=False))
    assert [(one.code, one.path) for one in found] == [("TRN681", "tiny_encoder/1/model.plan")]
    assert "`sh tiny_encoder/1/build-engine.sh`" in found[0].remedy
    assert "compute capability 9.0" in found[0].remedy


def test_an_engine_that_is_built_afterwards_makes_it_whole(workshop: EncoderWorkshop) -> None:
    build(workshop)
    folder = workshop.output / "tiny_encoder" / "1"
    environment = {**os.environ, "PATH": docker_that_runs_trtexec(workshop.folder / "bin")}
    subprocess.run([folder / "build-engine.sh"], env=environment, check=True, capture_output=True)
    assert engine_file.version(folder / "model.plan") == "10.14.1.48"
    assert check.check(workshop.output, host=Host("26.08", completes=False)) == []
    again = build(workshop)
    assert (again.published.fresh, again.published.version) == (False, 1)
    assert (folder / "model.plan").is_file()


def test_where_a_gpu_is_the_engine_is_published_too(
    workshop: EncoderWorkshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_gpu(monkeypatch, program(workshop.folder))
    built = build(workshop)
    folder = workshop.output / "tiny_encoder" / "1"
    assert (folder / "model.plan").read_bytes() == trtexec.engine()
    assert sorted(path.name for path in built.engine.parent.iterdir()) == ["model.plan"]
    assert check.check(workshop.output, host=Host("26.08", completes=False)) == []
    assert [path.name for path in built.engine.parent.parent.glob("timings-*")] == ["timings-26.08-9.0"]


def test_a_version_without_its_engine_gets_it_by_the_same_build_where_a_gpu_is(
    workshop: EncoderWorkshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny.tree(workshop.output) if build(workshop) else {}
    with_a_gpu(monkeypatch, program(workshop.folder))
    assert not build(workshop).published.fresh
    added = set(tiny.tree(workshop.output)) - set(first)
    assert {path for path in added if not path.endswith("build.json")} == {"tiny_encoder/1/model.plan"}


def test_an_engine_is_built_once(workshop: EncoderWorkshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_gpu(monkeypatch, program(workshop.folder))
    first = build(workshop).engine
    with_a_gpu(monkeypatch, program(workshop.folder, "#!/bin/sh\nexit 1\n"))
    assert build(workshop).engine == first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho no memory\nexit 1\n", ["ended with code 1", "no memory"]),
        ("#!/bin/sh\n", ["wrote no model.plan.part"]),
    ],
)
def test_a_trtexec_that_fails_publishes_nothing(
    workshop: EncoderWorkshop, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    with_a_gpu(monkeypatch, program(workshop.folder, text))
    with pytest.raises(ConversionError) as failed:
        build(workshop)
    assert all(word in str(failed.value) for word in words), failed.value
    assert not workshop.output.exists()


def test_a_build_cannot_verify_an_engine_and_says_so_before_it_works(workshop: EncoderWorkshop) -> None:
    with pytest.raises(UsageError, match="runs no engines") as refused:
        build(workshop, verifying=True)
    assert "--no-verify" in refused.value.remedy
    assert not (workshop.folder / "cache" / "artifacts").exists()


def test_a_deployment_serves_engines_by_the_release_that_built_them(workshop: EncoderWorkshop) -> None:
    build(workshop, triton="25.12")
    assert deployment(workshop.output, DeployOptions()).container.tag == "25.12"
    assert deployment(workshop.output, DeployOptions(triton="25.12")).gpus == "1"
    with pytest.raises(UsageError, match=r"tiny for 25\.12, not 26\.08"):
        deployment(workshop.output, DeployOptions(triton="26.08"))


def test_this_machine_is_read_without_a_gpu_and_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = tmp_path / "nvidia-smi"
    query.write_text("#!/bin/sh\necho 9.0\necho 9.0\necho 8.9\n")
    query.chmod(0o755)
    program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "26.08")
    found = Machine.here(FOR_H200)
    assert (found.compute, found.release) == (("9.0", "8.9"), "26.08")
    assert found.tool == str(tmp_path / "trtexec")
    assert found.docker and "docker" in found.docker
    query.unlink()
    assert Machine.here(FOR_H200).compute == ()


@pytest.mark.parametrize(
    ("content", "begins", "version"),
    [
        (trtexec.engine((10, 5, 0, 18)), True, "10.5.0.18"),
        (b"ptrt" + bytes(60), True, ""),
        (trtexec.engine()[:20], True, ""),
        (b"ftrt\x01" + bytes(40), True, ""),
        (b"\x08\x07\x12\x04onnx" + bytes(40), False, ""),
        (b"", False, ""),
    ],
)
def test_the_first_bytes_of_an_engine(tmp_path: Path, content: bytes, begins: bool, version: str) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(content)
    assert (engine_file.begins(path), engine_file.version(path)) == (begins, version)
