"""The services of the gateway: confined as Triton is, and their image's own steps and command, run here."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from processes import until
from rendered import ROOT, instructions, run, runs, service

from builder import deploy
from builder.deploying import packages
from builder.deployment import Options, deployment
from builder.server import Server


@pytest.fixture
def texts(default: Path, tmp_path: Path) -> dict[str, str]:
    return deploy.compose(deployment(default, Options()), tmp_path / "deploy")


@pytest.fixture
def services(texts: dict[str, str]) -> dict[str, Any]:
    return {name: service(texts["compose.yaml"], name) for name in ("triton", "gateway", "tls")}


def test_neither_is_started_unless_asked_for(services: dict[str, Any]) -> None:
    assert "profiles" not in services["triton"]
    assert services["gateway"]["profiles"] == ["openai", "tls"]
    assert services["tls"]["profiles"] == ["tls"]


def test_each_waits_for_the_one_behind_it(services: dict[str, Any]) -> None:
    assert services["gateway"]["depends_on"] == {"triton": {"condition": "service_healthy"}}
    assert services["tls"]["depends_on"] == {"gateway": {"condition": "service_healthy"}}
    command = services["gateway"]["command"]
    assert command[command.index("--triton") + 1] == "grpc://triton:8001"
    proxy = services["tls"]["command"]
    assert proxy[proxy.index("--to") + 1] == "gateway:8080"
    assert command[command.index("--port") + 1] == "8080"


@pytest.mark.parametrize("name", ["gateway", "tls"])
def test_they_are_confined(name: str, services: dict[str, Any]) -> None:
    found = services[name]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert all("127.0.0.1" in port.split(":4")[0] for port in found["ports"])
    assert found["restart"] == "unless-stopped"
    # only what is kept may be written, and none of it is of this machine
    assert [mount["type"] for mount in found["volumes"]] == ["volume"]


def test_who_they_are(services: dict[str, Any], texts: dict[str, str]) -> None:
    assert services["gateway"]["user"] == "1000:1000"
    assert ("USER", "1000:1000") in instructions(texts["Dockerfile.gateway"])
    assert "cap_add" not in services["gateway"]
    # its binary has this capability, and cannot even be started without
    assert services["tls"]["cap_add"] == ["NET_BIND_SERVICE"]
    assert re.fullmatch(r"caddy:\d+\.\d+\.\d+-alpine", services["tls"]["image"])


def test_streams_end_before_they_are_killed(services: dict[str, Any]) -> None:
    command = services["gateway"]["command"]
    patience = int(command[command.index("--exit-timeout") + 1])
    assert int(services["gateway"]["stop_grace_period"].removesuffix("s")) > patience


def test_the_pins_are_those_that_everything_is_tested_with(texts: dict[str, str]) -> None:
    tested = {
        packages.normalised(line): line.partition("==")[2]
        for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    (line,) = runs(texts["Dockerfile.gateway"])
    pins = re.findall(r'"([^"]+==[^"]+)"', line)
    assert len(pins) > 20
    known = {packages.normalised(pin): pin.partition("==")[2] for pin in pins}
    assert {name: version for name, version in known.items() if tested.get(name, version) != version} == {}
    assert needed("gateway", "postgresql") <= known.keys()


def needed(*extras: str) -> set[str]:
    """Return the packages of some of the project's extras, and all that these need in turn."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    waiting = [Requirement(one) for extra in extras for one in told[extra]]
    found: dict[str, Requirement] = {}
    while waiting:
        one = waiting.pop()
        if str(one) in found:
            continue
        found[str(one)] = one
        for text in importlib.metadata.requires(one.name) or []:
            behind = Requirement(text)
            if not behind.marker or any(
                behind.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)
            ):
                waiting.append(behind)
    return {packages.normalised(one.name) for one in found.values()}


def test_the_program_is_found_from_wherever_the_files_lie(default: Path, tmp_path: Path) -> None:
    def told(output: Path) -> str:
        text = deploy.compose(deployment(default, Options()), output)["compose.yaml"]
        return str(service(text, "gateway")["build"]["additional_contexts"]["builder"])

    assert told(ROOT / "deploy") == told(ROOT / "docker") == "../builder"
    assert told(tmp_path) == str(ROOT / "builder")


def image(dockerfile: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Do what builds the image, in a folder: return its entry point and its environment."""
    home = folder / "python"
    assert run(sys.executable, "-m", "venv", str(home)).returncode == 0
    path = {"PATH": f"{home / 'bin'}:/usr/bin:/bin"}
    (line,) = runs(dockerfile)
    install, _, made = line.partition(" && ")
    assert made == "mkdir --mode=1777 /keys"
    network = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = run("sh", "-c", install, env={**network, **path})
    assert done.returncode == 0, done.stdout
    steps = dict(instructions(dockerfile))
    source, target = steps["COPY"].removeprefix("--from=builder ").split()
    assert source == "."
    shutil.copytree(
        ROOT / "builder", folder / target.strip("/"), ignore=shutil.ignore_patterns("__pycache__")
    )
    environment = dict(word.split("=") for word in steps["ENV"].split())
    environment |= {"PYTHONPATH": f"{folder}{environment['PYTHONPATH']}", "HOME": str(folder)}
    assert steps["ENTRYPOINT"] == '["python", "-m", "builder"]'
    return [str(home / "bin" / "python"), "-m", "builder"], {**environment, **path}


@pytest.mark.slow
@pytest.mark.triton
def test_the_image_answers_and_says_that_it_is_healthy(
    texts: dict[str, str],
    services: dict[str, Any],
    boot: Callable[..., Server],
    scripted: Path,
    tmp_path: Path,
) -> None:
    server = boot(scripted)
    entry, environment = image(texts["Dockerfile.gateway"], tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    real = {"grpc://triton:8001": f"grpc://{server.grpc}", "0.0.0.0": "127.0.0.1", "8080": str(port)}
    command = [real.get(word, word) for word in services["gateway"]["command"]]
    kind, program, option, code = services["gateway"]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")

    def healthy(at: int) -> bool:
        asked = [entry[0], "-c", code.replace("8080", str(at))]
        # a proxy may be in every container's environment
        return run(*asked, env={**environment, "http_proxy": "http://127.0.0.1:9"}).returncode == 0

    assert not healthy(port)
    keys = tmp_path / "keys.db"
    made = run(*entry, "keys", "create", "somebody", "--keys", str(keys), env=environment)
    assert made.returncode == 0, made.stdout
    # it writes nowhere: the root of a container is read-only
    process = subprocess.Popen(
        [*entry, *command],
        env={**environment, "BUILDER_KEYS": str(keys)},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: healthy(port))
        key = made.stdout.splitlines()[0]
        listed = run(
            *(entry[0], "-c"),
            "import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], headers="
            "{'Authorization': 'Bearer ' + sys.argv[2]})).read().decode())",
            *(f"http://127.0.0.1:{port}/v1/models", key),
            env=environment,
        )
        assert '"id":"scripted"' in listed.stdout, listed.stdout
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
