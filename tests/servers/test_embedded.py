"""The embedded server by itself: it boots, answers, stops, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import ServeError
from builder.serve import boot
from builder.server import Options
from builder.servers import embedded
from builder.serving import ports, rest

Repository = Callable[..., Path]
RAISES = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        raise ValueError("no answer today")
"""
SLEEPS = """import time


class TritonPythonModel:
    def execute(self, requests): return []
    time.sleep(300)
"""


@pytest.mark.triton
def test_a_good_repository_boots_answers_and_stops(repository: Repository, clean: Path) -> None:
    with boot(repository("adder"), options=Options(log=clean)) as server:
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.5]}]}
        status, answer = rest.call(server.http, "POST", "/v2/models/adder/infer", body=body)
        assert (status, answer["outputs"][0]["data"]) == (200, [2.0, 3.5])
        assert rest.call(server.metrics, "GET", "/metrics")[0] == 200
        with socket.create_connection(tuple(server.grpc.split(":")), timeout=5):
            pass
        assert server.alive()
    assert server.exit_code() == 0
    server.stop()


@pytest.mark.triton
def test_models_run_in_this_interpreter(repository: Repository, clean: Path) -> None:
    folder = repository("adder")
    model = folder / "adder" / "1" / "model.py"
    model.write_text(model.read_text() + "\n\nimport sys\n\nprint('PREFIX', sys.prefix, flush=True)\n")
    with boot(folder, options=Options(log=clean)) as server:
        assert f"PREFIX {sys.prefix}\n" in server.log()


@pytest.mark.triton
def test_a_model_cannot_import_from_the_folder_we_run_in(
    repository: Repository, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone, `import backends` must find the repository's copy and not the clone's."""
    (tmp_path / "only_here.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder = repository("adder")
    model = folder / "adder" / "1" / "model.py"
    model.write_text("import only_here\n" + model.read_text())
    with pytest.raises(ServeError, match="No module named 'only_here'"):
        boot(folder, options=Options(log=clean))


@pytest.mark.triton
def test_the_log_is_removed_after_a_clean_stop_and_still_readable(
    repository: Repository, clean: Path
) -> None:
    with boot(repository("adder")) as server:
        path = server.log_path()
        assert path is not None and path.is_file()
    assert not path.exists()
    assert "successfully loaded 'adder'" in server.log()


@pytest.mark.triton
def test_the_log_is_kept_after_a_failure(repository: Repository, tmp_path: Path) -> None:
    folder = repository("adder")
    (folder / "adder" / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def execute(self, requests): return []\n    raise RuntimeError('no')\n"
    )
    with pytest.raises(ServeError) as failure:
        boot(folder)
    path = Path(failure.value.remedy.rsplit(" ", 1)[-1])
    assert "failed to load 'adder'" in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["triton.log"]
    path.unlink()
    path.parent.rmdir()


@pytest.mark.triton
def test_a_model_that_loads_too_long_is_named(repository: Repository, clean: Path) -> None:
    folder = repository("adder")
    (folder / "adder" / "1" / "model.py").write_text(SLEEPS)
    with pytest.raises(ServeError, match=r"did not answer within 3 s; still loading: adder"):
        boot(folder, timeout=3.0, options=Options(log=clean))


@pytest.mark.triton
def test_ready_is_not_enough_a_request_must_be_answered(repository: Repository, clean: Path) -> None:
    folder = repository("slow")
    (folder / "slow" / "1" / "model.py").write_text(RAISES)
    with pytest.raises(ServeError, match=r"slow is READY, but its first request .* no answer today"):
        boot(folder, options=Options(log=clean))


@pytest.mark.triton
@pytest.mark.parametrize("door", ["http_port", "grpc_port", "metrics_port"])
def test_a_port_in_use_is_named(repository: Repository, clean: Path, door: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        option = door.replace("_", "-")
        with pytest.raises(ServeError, match=rf"port {port} .* is in use[^§]*--{option} 0"):
            boot(repository("adder"), **{door: port}, options=Options(log=clean))


@pytest.mark.triton
def test_a_given_port_is_used(repository: Repository, clean: Path) -> None:
    port = ports.choose(Options())[0]
    with boot(repository("adder"), http_port=port, options=Options(log=clean)) as server:
        assert server.http == f"127.0.0.1:{port}"


@pytest.mark.triton
def test_a_lost_race_for_a_port_is_run_again(
    repository: Repository, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program binds the chosen port between our look and Triton's bind."""
    choose, others = ports.choose, []

    def lose_once(options: Options) -> tuple[int, int, int]:
        chosen = choose(options)
        if not others:
            others.append(socket.create_server(("127.0.0.1", chosen[0])))
        return chosen

    monkeypatch.setattr(ports, "choose", lose_once)
    with boot(repository("adder"), options=Options(log=clean)) as server:
        assert server.alive()
        assert int(server.http.split(":")[1]) != others[0].getsockname()[1]
    others[0].close()


@pytest.mark.triton
def test_kill_leaves_nothing(repository: Repository, clean: Path) -> None:
    server = boot(repository("adder", "slow"), options=Options(log=clean))
    server.kill()
    assert server.exit_code() == -signal.SIGKILL
    server.stop()


@pytest.mark.triton
@pytest.mark.parametrize(
    "name",
    [
        "with a space",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("quote's", "$HOME", "a;b&c", "(1)")),
    ],
)
def test_any_path_is_served(
    repository: Repository, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Triton hands the paths of models to a shell, and quotes none."""
    odd = tmp_path / name
    (odd / "temporary").mkdir(parents=True)
    repository("adder").rename(odd / "models")
    monkeypatch.setattr(tempfile, "tempdir", str(odd / "temporary"))
    arguments = ("--model-control-mode=explicit", "--load-model=adder")
    with boot(odd / "models", timeout=30.0, options=Options(log=clean, arguments=arguments)) as server:
        assert len(str(server.log())) and server.alive()
        # what changes in the user's folder is seen
        config = odd / "models" / "adder" / "config.pbtxt"
        config.write_text(config.read_text() + 'parameters { key: "seen" value { string_value: "yes" } }\n')
        assert rest.call(server.http, "POST", "/v2/repository/models/adder/load", body={})[0] == 200
        status, told = rest.call(server.http, "GET", "/v2/models/adder/config")
        assert (status, told["parameters"]) == (200, {"seen": {"string_value": "yes"}})
    assert list((odd / "temporary").iterdir()) == []
    assert (odd / "models" / "adder" / "config.pbtxt").is_file()


@pytest.mark.triton
def test_a_process_that_aborts_is_not_waited_for(repository: Repository, clean: Path) -> None:
    """Triton waits for ever for a stub that aborts before it has said a word: here at a space in a path."""
    folder = repository("adder")
    (folder / "adder").rename(folder / "ad der")
    begun = time.monotonic()
    with pytest.raises(ServeError, match=r"(?s)process of ad der has aborted, .*std::invalid_argument"):
        boot(folder, timeout=60.0, options=Options(log=clean))
    assert time.monotonic() - begun < 30


@pytest.mark.triton
def test_a_server_that_dies_under_us_is_cleaned_up(repository: Repository, clean: Path) -> None:
    server = boot(repository("adder"), options=Options(log=clean))
    assert isinstance(server, embedded.EmbeddedServer) and server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.alive():
        time.sleep(0.01)
    server.stop()


def test_numpy_2_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    if embedded.available():
        pytest.skip("the embedded server cannot run here for another reason")
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.3.1")
    reason = embedded.available()
    assert reason is not None and "numpy 2.3.1" in reason and 'pip install "numpy<2"' in reason
    with pytest.raises(ServeError, match="corrupts tensors with numpy 2"):
        embedded.create(Path(), Options())


def test_availability_does_not_import_pytriton() -> None:
    import subprocess

    look = "from builder.servers import embedded; embedded.available()"
    code = f"import sys; {look}; print('pytriton' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is not a folder"),
        (lambda path: path.mkdir(), "holds no model"),
    ],
    ids=["absent", "file", "empty"],
)
def test_no_repository(tmp_path: Path, make: Callable[[Path], object], expected: str) -> None:
    make(tmp_path / "repository")
    with pytest.raises(ServeError, match=expected):
        boot(tmp_path / "repository")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_repository(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(ServeError, match="is not readable by this user"):
            boot(tmp_path)
    finally:
        tmp_path.chmod(0o700)
