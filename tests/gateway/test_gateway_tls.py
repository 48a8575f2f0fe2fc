"""A gateway that speaks TLS itself."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gateway_process
import pytest
from echoing_repository import NAME
from gateway_process import JSON, Gateway, events

from builder.server import Server

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl"),
]
HELLO = [{"role": "user", "content": "hello"}]


def made(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 that signs itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate), *(more or ["-nodes"])]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture(scope="module")
def speaking(files: tuple[Path, Path], echoing: Server) -> Iterator[Gateway]:
    words = ["--tls-certificate", str(files[0]), "--tls-key", str(files[1])]
    with gateway_process.running(echoing.grpc, *words) as gateway:
        yield gateway


def connected(gateway: Gateway, certificate: Path) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=certificate)
    return http.client.HTTPSConnection(gateway.address, timeout=60, context=context)


def test_a_stream_by_tls(speaking: Gateway, files: tuple[Path, Path]) -> None:
    connection = connected(speaking, files[0])
    asked = {"model": NAME, "messages": HELLO, "stream": True, "max_tokens": 3}
    connection.request("POST", "/v1/chat/completions", json.dumps(asked), JSON)
    with connection.getresponse() as response:
        *_, last = events(response)
    connection.close()
    assert (response.status, last) == (200, "[DONE]")


def test_a_certificate_that_the_client_does_not_know(speaking: Gateway) -> None:
    connection = http.client.HTTPSConnection(speaking.address, timeout=60)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/health")


def test_plain_http_is_not_answered(speaking: Gateway) -> None:
    host, _, port = speaking.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in plain.recv(4096)


def test_a_head_that_is_too_large(speaking: Gateway, files: tuple[Path, Path]) -> None:
    connection = connected(speaking, files[0])
    connection.request("GET", "/health", headers={"X-Much": "a" * 2**17})
    with connection.getresponse() as response:
        assert response.status == 431
        assert json.loads(response.read())["error"]["code"] == "too_large"
    connection.close()


def test_one_file_may_hold_both(tmp_path: Path, files: tuple[Path, Path], echoing: Server) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join(path.read_text() for path in files))
    with gateway_process.running(echoing.grpc, "--tls-certificate", str(both), "--workers", "2") as gateway:
        connection = connected(gateway, files[0])
        connection.request("GET", "/health")
        with connection.getresponse() as response:
            assert response.status == 200
        connection.close()


def refused(*words: str | Path) -> str:
    command = [sys.executable, "-m", "builder", "gateway", "--port", "0", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


def test_files_that_do_not_fit(tmp_path: Path, files: tuple[Path, Path]) -> None:
    certificate, _ = files
    _, another = made(tmp_path, "another")
    _, locked = made(tmp_path, "locked", "-passout", "pass:secret")
    told = "cannot be used for TLS"
    assert told in refused("--tls-certificate", certificate, "--tls-key", another)
    assert told in refused("--tls-certificate", certificate, "--tls-key", locked)
    assert told in refused("--tls-certificate", certificate)
    (tmp_path / "text").write_text("no certificate")
    assert told in refused("--tls-certificate", tmp_path / "text")
    assert "without --tls-certificate" in refused("--tls-key", another)
