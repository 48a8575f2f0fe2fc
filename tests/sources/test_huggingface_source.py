"""A model of the hub comes from its cache, from the hub, or ends in words; each in its own process,
because huggingface_hub reads its settings once, on import."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest
from safetensors.numpy import save_file

from builder import architecture
from builder.sources import huggingface

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
PROGRAM = """
import json, sys
from builder.errors import BuilderError
from builder.source import fetch, open_checkpoint
try:
    found = open_checkpoint("acme/tiny", {revision!r})
    before = [file.name for file in found.files if file.exists()]
    done = fetch(found)
    print(json.dumps({{"revision": found.revision, "origin": found.origin, "before": sorted(before),
        "after": sorted(file.name for file in done.files if file.exists()), "tensors": len(found.tensors),
        "same": (found.fingerprint, found.tensors) == (done.fingerprint, done.tensors)}}))
except BuilderError as error:
    print(json.dumps({{"error": type(error).__name__, "text": error.sentence()}}))
"""


def fill(folder):
    folder.mkdir(parents=True)
    family = architecture.load("llama")
    shapes = architecture.expected_tensors(family, CONFIG, "safetensors", ())
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")


def ask(home, revision=None, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(revision=revision)],
        env=clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def hub(tmp_path):
    """A hub on loopback with one model, `acme/tiny`; every other name is absent."""
    files = tmp_path / "hub"
    fill(files)

    class Handler(http.server.BaseHTTPRequestHandler):
        gated = False

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = urllib.parse.urlparse(self.path).path
            if self.gated:
                return self.send(403, b"", {"X-Error-Code": "GatedRepo"}, body)
            if path.startswith("/api/models/acme/tiny/tree/"):
                tree = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
                    for file in sorted(files.iterdir())
                ]
                return self.send(200, json.dumps(tree).encode(), {}, body)
            if path.startswith("/api/models/acme/tiny"):
                siblings = [{"rfilename": file.name} for file in sorted(files.iterdir())]
                described = {"id": "acme/tiny", "sha": COMMIT, "siblings": siblings}
                return self.send(200, json.dumps(described).encode(), {}, body)
            name = path.rpartition("/")[2]
            if not path.startswith("/acme/tiny/resolve/") or not (files / name).is_file():
                code = "EntryNotFound" if path.startswith("/acme/tiny/") else "RepoNotFound"
                return self.send(404, b"", {"X-Error-Code": code}, body)
            content = (files / name).read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.send(200, content, headers, body)

        def send(self, status, content, headers, body):
            wanted = self.headers.get("Range", "")
            if status == 200 and wanted.startswith("bytes=") and body:
                begin, _, end = wanted.removeprefix("bytes=").partition("-")
                total, begin = len(content), int(begin)
                content = content[begin : int(end) + 1 if end else None]
                headers = headers | {"Content-Range": f"bytes {begin}-{begin + len(content) - 1}/{total}"}
                status = 206
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.handler = Handler
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def endpoint(server):
    return {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_XET": "1"}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("org/name", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", True),
        ("name", False),
        ("a/b/c", False),
        ("./a/b", False),
        ("/a/b", False),
        ("models/x.gguf", False),
        ("package:a/b", False),
    ],
)
def test_what_looks_like_a_name(reference, expected):
    assert huggingface.recognises(reference) is expected


def test_a_path_that_exists_is_no_name(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not huggingface.recognises("org/name")


def test_from_the_cache_without_a_network(tmp_path):
    root = tmp_path / "hub" / "models--acme--tiny"
    fill(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    found = ask(tmp_path, HF_HUB_OFFLINE="1")
    assert (found["revision"], found["origin"], found["same"]) == (COMMIT, "acme/tiny", True)


def test_offline_and_absent(tmp_path):
    found = ask(tmp_path, HF_HUB_OFFLINE="1")
    assert found["error"] == "SourceError"
    assert "not in the local cache" in found["text"]
    assert "--checkpoint PATH" in found["text"]


def test_headers_first_then_weights(tmp_path, hub):
    found = ask(tmp_path / "home", **endpoint(hub))
    assert found.get("revision") == COMMIT, found
    assert found["before"] == ["config.json", "tokenizer.json"]
    assert found["after"] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert found["tensors"] == 12
    assert found["same"]


def test_gated(tmp_path, hub):
    hub.handler.gated = True
    found = ask(tmp_path / "home", **endpoint(hub))
    assert found["error"] == "SourceError"
    assert "gated" in found["text"]
    assert "--checkpoint PATH" in found["text"]
