"""What a server says about itself, and what /proc says about it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder.measuring import counters, memory

METRICS = """# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1.5e9
nv_gpu_memory_used_bytes{gpu_uuid="GPU-2"} 2000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 80e9
nv_inference_count{model="m",version="1"} 7
"""
STATS = {"model_stats": [{"name": "m", "inference_count": 12, "execution_count": 4}, {"name": "idle"}]}

# Holds 64 MB of its own, 8 MB in /dev/shm and a listening socket, and has a child with another 32 MB.
HOLDER = """
import mmap, os, pathlib, socket, subprocess, sys
own = bytearray(os.urandom(1)) * 64_000_000
path = pathlib.Path("/dev/shm") / sys.argv[1]
path.write_bytes(b"x" * 8_000_000)
shared = mmap.mmap(os.open(path, os.O_RDWR), 8_000_000)
listener = socket.create_server(("127.0.0.1", 0))
child = "import sys; held = bytearray(b'x') * 32_000_000; print('held', flush=True); sys.stdin.read()"
with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
    one.stdout.readline()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
path.unlink()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = METRICS if self.path == "/metrics" else json.dumps(STATS)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_counters_are_read(address: str) -> None:
    assert counters.batches(address) == {"m": (12.0, 4.0), "idle": (0.0, 0.0)}
    assert counters.gpu_memory(address) == {"GPU-1": 1500.0, "GPU-2": 2.0}


def test_a_server_without_counters_has_none() -> None:
    assert counters.batches("127.0.0.1:9") == {}
    assert counters.gpu_memory("127.0.0.1:9") == {}


def test_mean_batch_is_of_what_was_done_meanwhile() -> None:
    before = {"m": (10.0, 10.0), "idle": (3.0, 3.0)}
    after = {"m": (34.0, 18.0), "idle": (3.0, 3.0), "new": (5.0, 2.0)}
    assert counters.means(before, after) == {"m": 3.0, "new": 2.5}


def test_memory_is_of_the_listener_its_children_and_what_they_share() -> None:
    name = f"builder-test-{threading.get_native_id()}"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        found = memory.used(int(holder.stdout.readline()))
        holder.communicate()
    assert found["processes"] == 2
    assert 96 <= found["pss"] <= found["rss"] <= found["peak_rss"] < 400
    assert found["shared"] == 8.0


def test_a_port_nobody_listens_on_has_no_memory() -> None:
    assert memory.used(9) == {}


def test_loopback_is_told_from_elsewhere() -> None:
    assert memory.is_local("127.0.0.1")
    assert memory.is_local("localhost")
    assert memory.is_local("[::1]")
    assert not memory.is_local("192.0.2.1")
    assert not memory.is_local("no.such.host.invalid")
