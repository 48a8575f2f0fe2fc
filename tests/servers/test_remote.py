"""A server that runs already: looked at, never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.check import Choice
from builder.errors import ServeError, UsageError
from builder.serve import boot
from builder.server import Options, Server
from builder.servers import remote
from builder.serving import ports

GOOD = Path(__file__).parent / "good"


@pytest.mark.triton
def test_a_running_server_is_used_and_left_running(boot: Callable[..., Server], tmp_path: Path) -> None:
    running = boot(GOOD, options=Options(log=tmp_path / "triton.log"))
    grpc, metrics = (int(address.split(":")[1]) for address in (running.grpc, running.metrics))
    options = Options(url=f"http://{running.http}", grpc_port=grpc, metrics_port=metrics)
    for repository in (GOOD, None):
        with boot(repository, using="remote", options=options) as server:
            assert (server.http, server.grpc, server.metrics) == (running.http, running.grpc, running.metrics)
            assert server.log() == "" and server.log_path() is None and server.exit_code() is None
        assert running.alive()


@pytest.mark.triton
def test_a_model_of_the_folder_that_is_not_served_is_named(
    boot: Callable[..., Server], tmp_path: Path
) -> None:
    running = boot(GOOD, options=Options(log=tmp_path / "triton.log"))
    folder = Path(__file__).parent / "broken" / "wrong_dtype_in_ensemble" / "repository"
    with pytest.raises(ServeError, match=r"2 of 3 models did not load[^§]*doubler: [^§]*pipeline: "):
        # what is wrong with the folder itself would be told before
        boot(folder, using="remote", options=Options(url=running.http), refusing=Choice(("TRN00",)))


def test_nobody_there() -> None:
    port = ports.choose(Options())[0]
    with pytest.raises(ServeError, match=f"no Triton answers at http://127.0.0.1:{port}/"):
        boot(None, using="remote", options=Options(url=f"127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("url", "http", "grpc", "metrics"),
    [
        ("localhost", "localhost:8000", "localhost:8001", "localhost:8002"),
        ("http://host:9000/", "host:9000", "host:9001", "host:9002"),
        ("[::1]:80", "[::1]:80", "[::1]:81", "[::1]:82"),
    ],
)
def test_addresses(url: str, http: str, grpc: str, metrics: str) -> None:
    server = remote.create(None, Options(url=url))
    assert (server.http, server.grpc, server.metrics) == (http, grpc, metrics)


@pytest.mark.parametrize("url", ["", "https://host", "http://", "host:0x1", "host:99999"])
def test_bad_addresses(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a running server"):
        remote.create(None, Options(url=url))


def test_an_unknown_server_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    with pytest.raises(UsageError, match="one of docker, embedded, remote"):
        boot(tmp_path, using="kubernetes")
