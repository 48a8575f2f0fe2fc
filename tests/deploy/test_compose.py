"""The rendered files: their schema, their linter, what they promise, and that they are the committed ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rendered import ROOT, instructions, run, service, shell_line, tool

from builder import deploy
from builder.deployment import Options, deployment
from builder.planning.versions import containers

VARIANTS = {
    "as it comes": Options(),
    "every option": Options("26.03", "all", "::1", 9000, 9001, 9002, "16g", openai_port=9080),
    "two GPUs": Options(gpus="2"),
    "open": Options(bind="0.0.0.0"),
}
OVERLAYS = ("docker/compose.build.yaml", "docker/compose.gpu.yaml")


def rendered(repository: Path, output: Path, options: Options = VARIANTS["as it comes"]) -> dict[str, str]:
    return deploy.compose(deployment(repository, options), output)


def require_valid(file: Path) -> None:
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file))
    assert done.returncode == 0, done.stdout


def require_no_lint(file: Path) -> None:
    done = run(tool("hadolint"), "--no-color", str(file))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", deploy.COMPOSE)
def test_committed_default_is_what_the_renderer_gives(name: str, default: Path) -> None:
    text = rendered(default, ROOT / "docker")[name]
    assert (ROOT / "docker" / name).read_bytes() == text.encode(), (
        "run `builder deploy compose --output docker` and commit docker/"
    )


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_rendered_files_are_valid(options: Options, default: Path, tmp_path: Path) -> None:
    deploy.write(rendered(default, tmp_path, options), tmp_path)
    require_valid(tmp_path / "compose.yaml")
    for name in ("Dockerfile", "Dockerfile.gateway"):
        require_no_lint(tmp_path / name)


@pytest.mark.parametrize("name", ["compose.yaml", "docker/compose.yaml", *OVERLAYS])
def test_committed_compose_files_are_valid(name: str) -> None:
    require_valid(ROOT / name)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gateway", "Dockerfile.build"])
def test_committed_dockerfiles_are_clean(name: str) -> None:
    require_no_lint(ROOT / "docker" / name)


def test_the_schema_would_notice(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {triton: {shm_sizes: 1g}}\n")
    with pytest.raises(AssertionError, match="shm_sizes"):
        require_valid(file)


def test_compose_itself_reads_the_default() -> None:
    """Compose needs no engine to read its files; with an engine it needs nothing else."""
    if shutil.which("docker") is None or run("docker", "compose", "version").returncode:
        pytest.skip("docker has no compose plugin here: install docker-compose-plugin")
    gpus = ("--file", "compose.yaml", "--file", "docker/compose.gpu.yaml")
    for files in ((), gpus):
        done = run("docker", "compose", *files, "config", "--format", "json", cwd=ROOT)
        assert done.returncode == 0, done.stdout
        assert "service_completed_successfully" in done.stdout


def test_the_container_is_confined(default: Path, tmp_path: Path) -> None:
    triton = service(rendered(default, tmp_path)["compose.yaml"])
    assert triton["user"] == "1000:1000"
    assert triton["read_only"] is True
    assert triton["cap_drop"] == ["ALL"]
    assert triton["security_opt"] == ["no-new-privileges:true"]
    assert [mount["read_only"] for mount in triton["volumes"]] == [True]
    assert all(port.startswith("127.0.0.1:") for port in triton["ports"])
    assert triton["restart"] == "unless-stopped"


def test_stopping_waits_longer_than_triton_does(default: Path, tmp_path: Path) -> None:
    triton = service(rendered(default, tmp_path)["compose.yaml"])
    timeout = next(word for word in triton["command"] if word.startswith("--exit-timeout-secs="))
    assert int(triton["stop_grace_period"].removesuffix("s")) > int(timeout.partition("=")[2])


def test_every_option_is_in_the_file(default: Path, tmp_path: Path) -> None:
    texts = rendered(default, tmp_path, VARIANTS["every option"])
    triton = service(texts["compose.yaml"])
    assert triton["ports"] == ["[::1]:9000:8000", "[::1]:9001:8001", "[::1]:9002:8002"]
    assert service(texts["compose.yaml"], "gateway")["ports"] == ["[::1]:9080:8080"]
    resources = triton["deploy"]["resources"]
    assert resources["limits"] == {"memory": "16384m"}
    assert resources["reservations"]["devices"] == [
        {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    ]
    assert ("FROM", containers()["26.03"].image) in instructions(texts["Dockerfile"])


def test_shared_memory_grows_with_the_python_processes(handmade: Callable[..., Path], tmp_path: Path) -> None:
    sizes = []
    for count in (1, 5):
        repository = handmade(f"m{count}", instances=f"kind: KIND_CPU count: {count}")
        sizes.append(service(rendered(repository, tmp_path)["compose.yaml"])["shm_size"])
    assert sizes == ["512m", "1792m"]


def test_each_front_is_asked(handmade: Callable[..., Path], tmp_path: Path) -> None:
    handmade("first")
    repository = handmade("second", kind="TYPE_FP16")
    triton = service(rendered(repository, tmp_path)["compose.yaml"])
    first, second = shell_line(triton).split(" && ")
    assert "/v2/models/first/infer" in first and '"datatype": "FP32"' in first
    assert second.endswith("/v2/models/second/ready")
    assert triton["healthcheck"]["timeout"] == "22s"


def test_nothing_in_a_name_is_interpolated(handmade: Callable[..., Path], tmp_path: Path) -> None:
    repository = handmade(name="in$HOME'put")
    text = rendered(repository, tmp_path / "$out")["compose.yaml"]
    assert "in$$HOME" in text
    line = shell_line(service(text))
    assert run("sh", "-c", f"printf '%s\n' {line}").stdout.count("in$HOME'put") == 1


def test_a_model_that_needs_no_package(handmade: Callable[..., Path], tmp_path: Path) -> None:
    texts = rendered(handmade(), tmp_path)
    assert [name for name, _ in instructions(texts["Dockerfile"])] == ["FROM", "USER"]


def test_paths_are_relative_where_both_can_move(handmade: Callable[..., Path], tmp_path: Path) -> None:
    repository = handmade()
    far = Path("/srv") / "nowhere"

    def source(output: Path) -> str:
        return str(service(rendered(repository, output)["compose.yaml"])["volumes"][0]["source"])

    assert source(tmp_path / "deploy") == "../handmade"
    assert source(repository / "..") == "./handmade"
    assert source(repository) == "."
    assert source(far) == str(repository.resolve())


def test_the_same_deployment_gives_the_same_bytes(scripted: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    first = rendered(scripted, tmp_path / "deploy")
    shutil.copytree(tmp_path / "scripted", moved / "scripted")
    assert rendered(moved / "scripted", moved / "deploy") == first


def test_the_root_file_waits_for_the_build(default: Path) -> None:
    root = yaml.safe_load((ROOT / "compose.yaml").read_text())
    (included,) = root["include"]
    assert included["path"] == ["docker/compose.yaml", "docker/compose.build.yaml"]
    overlay = yaml.safe_load((ROOT / "docker" / "compose.build.yaml").read_text())["services"]
    assert overlay["triton"] == {"depends_on": {"build": {"condition": "service_completed_successfully"}}}
    target = overlay["build"]["volumes"][0]
    assert (ROOT / "docker" / target["source"]).resolve() == ROOT
    written = Path(overlay["build"]["command"][-1]).relative_to(target["target"])
    served = service((ROOT / "docker" / "compose.yaml").read_text())["volumes"][0]["source"]
    assert (ROOT / "docker" / served).resolve() == (ROOT / written).resolve() == default


def test_gpus_are_only_in_the_overlay() -> None:
    assert "deploy" not in service((ROOT / "docker" / "compose.yaml").read_text())
    overlay = service((ROOT / "docker" / "compose.gpu.yaml").read_text())
    assert list(overlay) == ["deploy"]
    assert json.dumps(overlay).count('"gpu"') == 1


def test_the_build_image_gets_what_it_copies() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    text = (ROOT / "docker" / "Dockerfile.build").read_text()
    copied = [word for name, words in instructions(text) if name == "COPY" for word in words.split()[:-1]]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
