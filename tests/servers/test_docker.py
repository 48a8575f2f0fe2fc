"""The container's command line, and what is said where no engine runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import ServeError
from builder.serve import boot
from builder.server import Options
from builder.servers import docker

IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"


def test_command(tmp_path: Path) -> None:
    options = Options(image=IMAGE, gpus="all", shm_size="2g", arguments=("--log-verbose=1",))
    assert docker.command(tmp_path, options, name="builder-1", published=(1, 2, 3)) == [
        *["docker", "run", "--rm", "--name", "builder-1"],
        *["--publish", "127.0.0.1:1:8000"],
        *["--publish", "127.0.0.1:2:8001"],
        *["--publish", "127.0.0.1:3:8002"],
        *["--mount", f"type=bind,source={tmp_path},target=/models,readonly"],
        *["--shm-size", "2g", "--gpus", "all", "--env", "PYTHONDONTWRITEBYTECODE=1"],
        *["--env", "ORT_ENABLE_CUDNN_FLASH_ATTENTION=0", IMAGE],
        *["tritonserver", "--model-repository=/models", "--disable-auto-complete-config"],
        *["--exit-on-error=false", "--exit-timeout-secs=30", "--log-verbose=1"],
    ]


def test_no_gpus_unless_asked_for(tmp_path: Path) -> None:
    assert "--gpus" not in docker.command(tmp_path, Options(image=IMAGE), name="n", published=(1, 2, 3))


def test_an_image_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="no image was named"):
        docker.create(tmp_path, Options())


def test_without_an_engine_the_remedy_is_told(tmp_path: Path) -> None:
    if docker.available() is None:
        pytest.skip("a Docker engine runs here")
    with pytest.raises(
        ServeError, match=r"the docker server cannot run here: [^§]*to mend it: apt-get install"
    ):
        docker.create(tmp_path, Options(image=IMAGE))


@pytest.mark.docker
def test_a_container_boots(repository: Callable[..., Path]) -> None:
    with boot(repository("adder"), using="docker", timeout=600.0, options=Options(image=IMAGE)) as server:
        assert server.alive()
    assert not server.alive()
