"""An engine over several hosts, from its folder to the repository, and what starts its servers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny import Workshop

from builder.deployment import Options, deployment
from builder.errors import UsageError
from builder.printing import outcomes
from builder.server import Options as ServerOptions
from builder.servers import docker
from builder.source import read_json

HOSTS = ["gpu-a slots=2", "gpu-b slots=2"]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


def build(workshop: Workshop, **more: Any) -> Any:
    told = {"target": "tensorrtllm", "gpu": "h100", "max_context": 64, "concurrency": 4}
    told |= {"tensor_parallel": 2, "pipeline_parallel": 2, "hosts": "gpu-a,gpu-b"}
    return workshop.build(**{**told, **more})


def folder(workshop: Workshop) -> Path:
    return workshop.output / "tiny_engine" / "1"


def test_what_starts_the_servers_lies_beside_the_engine(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes.show(build(workshop))
    home = folder(workshop)
    said = capsys.readouterr().out
    assert (
        "26.07-trtllm-python-py3, the repository at /models: run there, on the first of 2 hosts, "
        f"`sh /models/tiny_engine/1/launch.sh`\nthat script is here {home}/launch.sh\n"
    ) in said
    mapping = read_json(home / "checkpoint" / "config.json")["mapping"]
    assert (mapping["world_size"], mapping["gpus_per_node"]) == (4, 2)
    assert "--workers 2" in (home / "build-engine.sh").read_text()
    assert read_json(home / "engine.json")["hosts"] == 2
    assert (home / "hosts").read_text().splitlines() == HOSTS
    script = (home / "launch.sh").read_text()
    assert "exec mpirun --allow-run-as-root --hostfile hosts --map-by slot \\\n  -n 1 tritonserver " in script
    assert script.count("--load-model=tiny_engine") == 3
    # the manifest names no machine
    manifest = (workshop.output / "tiny" / "1" / "manifest.json").read_text()
    assert "gpu-a" not in manifest and '"hosts": 2' in manifest

    # other names are no other version, and a number alone leaves them
    assert not build(workshop, hosts="gpu-b,gpu-c").published.fresh
    assert (home / "hosts").read_text().splitlines() == ["gpu-b slots=2", "gpu-c slots=2"]
    assert not build(workshop, hosts="2").published.fresh
    assert (home / "hosts").read_text().splitlines() == ["gpu-b slots=2", "gpu-c slots=2"]

    # one container has the servers of one host
    with pytest.raises(UsageError, match="the ranks of tiny_engine are on 2 hosts") as refused:
        deployment(workshop.output, Options())
    assert refused.value.remedy == (
        "run /models/tiny_engine/1/launch.sh on the first of them, inside the image, the repository at "
        f"/models; here it is {home / 'launch.sh'}"
    )
    with pytest.raises(UsageError, match="are on 2 hosts"):
        docker.command(workshop.output, ServerOptions(image="i"), name="n", published=(1, 2, 3))


def test_the_script_starts_mpirun_where_it_lies(workshop: Workshop, tmp_path: Path) -> None:
    """A program that prints its words stands for Open MPI's mpirun."""
    build(workshop, hosts="2")
    home = folder(workshop)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mpirun").write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    (tools / "mpirun").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [home / "launch.sh"], cwd="/", env=environment, capture_output=True, text=True, timeout=60
        )

    ran = run()
    assert ran.returncode == 2
    assert ran.stderr == "write a file 'hosts' here: for each of 2 hosts a line, such as\ngpu-a slots=2\n"
    (home / "hosts").write_text("\n".join(HOSTS))
    ran = run()
    words = ran.stdout.splitlines()
    assert ran.returncode == 0 and Path(words[0]) == home.resolve()
    assert words[1:6] == ["--allow-run-as-root", "--hostfile", "hosts", "--map-by", "slot"]
    servers = " ".join(words[6:]).split(" : ")
    assert [one.split()[:3] for one in servers] == [["-n", "1", "tritonserver"]] * 4
    assert [("--load-model=tiny_engine" in one) for one in servers] == [False, True, True, True]


def test_one_host_has_no_such_files(workshop: Workshop) -> None:
    build(workshop, hosts=None)
    assert not {"launch.sh", "hosts"} & {path.name for path in folder(workshop).iterdir()}
    assert "hosts" not in read_json(folder(workshop) / "engine.json")
    assert deployment(workshop.output, Options()).ranks.count == 4
