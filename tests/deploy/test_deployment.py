"""What a deployment is read from a repository, and what is refused before anything is written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import house, layout
from builder.deploying import images, packages
from builder.deploying.launching import tritonserver
from builder.deployment import Options, deployment
from builder.errors import RepositoryError, UsageError
from builder.printing import deployments, tables
from builder.probes import probes

CONSTRAINTS = Path(__file__).resolve().parents[2] / "scripts" / "constraints.txt"


def test_default_repository(default: Path) -> None:
    found = deployment(default, Options())
    assert [probe.model for probe in found.fronts] == ["smollm2"]
    assert found.fronts[0].body == {"text_input": "Hello", "max_tokens": 1}
    assert (found.python_processes, found.gpus, found.memory) == (3, "", None)
    assert found.shared_memory == 4 * 256 * 2**20
    assert found.planned_memory > 10**9
    assert found.on_loopback


def test_only_what_the_models_import_is_installed(default: Path, scripted: Path) -> None:
    engine = json.loads((default / "smollm2" / "1" / "settings.json").read_text())["engine"]
    names = {pin.partition("==")[0].replace("-", "_") for pin in deployment(default, Options()).packages}
    assert {"jinja2", "tokenizers", "llguidance", engine} <= names
    assert not names & {"numpy", "torch", "transformers", "openvino_genai"}
    without_engine = {pin.partition("==")[0] for pin in deployment(scripted, Options()).packages}
    assert without_engine == {"jinja2", "llguidance", "markupsafe", "tokenizers"}


def test_every_engine_of_the_project_has_its_requirements() -> None:
    needed: set[str] = set()
    for file in sorted((house.folder("backends") / "engine").glob("*.py")):
        needed |= set(packages.imported(file)) - {"backends"} - packages.GIVEN - sys.stdlib_module_names
    assert "onnxruntime_genai" in needed
    brought = {name for module in images.known() for name in images._read(module).brings}
    assert needed <= {*packages.known(), *images.known(), *brought}


def test_gpu_pins_are_those_of_the_cpu() -> None:
    folder = house.folder("docker") / "requirements"
    for file in folder.glob("*.gpu.txt"):
        cpu = (folder / f"{file.name.split('.')[0]}.txt").read_text()
        assert re.sub(r"-(gpu|cuda)==", "==", file.read_text()) == cpu


@pytest.mark.parametrize("module", ["onnxruntime", "onnxruntime_genai", "openvino", "openvino_genai"])
def test_an_engine_is_one_file_of_requirements(module: str, handmade: Callable[..., Path]) -> None:
    code = f"def create():\n    import {module}\n    from {module}.models import builder\n"
    found = deployment(handmade(code=code), Options()).packages
    lines = (house.folder("docker") / "requirements" / f"{module}.txt").read_text().splitlines()
    assert set(found) == {line for line in lines if not line.startswith("#")}
    assert any(pin.startswith(f"{module.replace('_', '-')}==") for pin in found)


@pytest.mark.parametrize(
    ("module", "image"), [("vllm", "26.06-vllm-python-py3"), ("tensorrt_llm", "26.07-trtllm-python-py3")]
)
def test_an_engine_with_an_image_of_its_own_is_not_installed(
    module: str, image: str, handmade: Callable[..., Path]
) -> None:
    repository = handmade(code=f"import {module}, jinja2, tokenizers, onnxruntime")
    found = deployment(repository, Options())
    assert found.image == f"nvcr.io/nvidia/tritonserver:{image}"
    assert found.container.tag == image[:5]
    # what the image has is left as it is, what it lacks is brought
    names = {pin.partition("==")[0] for pin in found.packages}
    assert "onnxruntime" in names and not names & {module, "jinja2", "tokenizers"}
    own = deployment(repository, Options(packages=("tokenizers=tokenizers==0.22.0",))).packages
    assert "tokenizers==0.22.0" in own


def test_a_release_without_such_an_image_is_refused(handmade: Callable[..., Path]) -> None:
    repository = handmade(code="import vllm")
    with pytest.raises(UsageError, match=r"there is no nvcr\.io/nvidia/tritonserver:26\.08-vllm") as refused:
        deployment(repository, Options(triton="26.08"))
    assert refused.value.expected == "one of 26.06"
    with pytest.raises(UsageError, match="need tensorrt_llm and vllm, which no image"):
        deployment(handmade("other", code="import tensorrt_llm"), Options())


def test_an_image_of_python_models_runs_no_other(handmade: Callable[..., Path]) -> None:
    repository = handmade(code="import vllm")
    graph = repository / "graph"
    (graph / "1").mkdir(parents=True)
    (graph / "1" / "model.onnx").write_bytes(b"")
    (graph / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    with pytest.raises(
        UsageError, match="need Triton's backend onnxruntime, which the image with vllm has not"
    ):
        deployment(repository, Options())


def by_backend(repository: Path, backend: str, name: str, model: str | None = None, group: str = "") -> Path:
    """Write a model of NVIDIA's backend by hand, without a manifest, beside what the repository has."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f'backend: "{backend}"\n{group}\n')
    if model is not None:
        (repository / name / "1" / "model.json").write_text(model)
    return repository


@pytest.mark.parametrize(
    ("backend", "image"), [("vllm", "26.08-vllm-python-py3"), ("tensorrtllm", "26.07-trtllm-python-py3")]
)
def test_a_model_of_an_engine_s_backend_gets_the_image_that_has_it(
    backend: str, image: str, tmp_path: Path
) -> None:
    found = deployment(by_backend(tmp_path, backend, "m", "{}"), Options())
    assert found.image == f"nvcr.io/nvidia/tritonserver:{image}"
    assert found.gpus == "1"
    assert deployment(tmp_path, Options(triton="25.03")).image.endswith(f":25.03{image[5:]}")
    with pytest.raises(UsageError, match="the models were built for 1"):
        deployment(tmp_path, Options(gpus="none"))


@pytest.mark.parametrize(
    ("told", "group", "gpus"),
    [
        (None, "", "1"),
        ("{", "", "1"),
        ("[]", "", "1"),
        ('{"tensor_parallel_size": "2"}', "", "1"),
        ('{"tensor_parallel_size": 4}', "instance_group { kind: KIND_MODEL }", "4"),
        ('{"tensor_parallel_size": 2, "pipeline_parallel_size": 2}', "", "4"),
        ("{}", "instance_group { kind: KIND_GPU gpus: [2] }", "3"),
    ],
)
def test_vllm_takes_the_gpus_of_its_own_file(told: str | None, group: str, gpus: str, tmp_path: Path) -> None:
    assert deployment(by_backend(tmp_path, "vllm", "m", told, group), Options()).gpus == gpus


def test_a_backend_and_a_python_model_share_one_image_or_are_refused(handmade: Callable[..., Path]) -> None:
    repository = by_backend(handmade(code="import vllm"), "vllm", "m", "{}")
    assert deployment(repository, Options()).image.endswith(":26.06-vllm-python-py3")
    with pytest.raises(UsageError, match="need tensorrt_llm and vllm, which no image"):
        deployment(by_backend(repository, "tensorrtllm", "other"), Options())


def test_models_on_a_gpu_get_the_gpu_build(handmade: Callable[..., Path]) -> None:
    repository = handmade(code="import onnxruntime_genai", instances="kind: KIND_GPU gpus: [1]")
    found = deployment(repository, Options())
    assert found.gpus == "2"
    names = {pin.partition("==")[0] for pin in found.packages}
    assert "onnxruntime-genai-cuda" in names and "onnxruntime-genai" not in names
    with pytest.raises(UsageError, match="the models were built for 2"):
        deployment(repository, Options(gpus="1"))
    with pytest.raises(UsageError, match="the models were built for 2"):
        deployment(repository, Options(gpus="none"))
    assert deployment(repository, Options(gpus="all")).gpus == "all"


def test_every_pin_is_exact_and_the_one_that_the_scripts_install() -> None:
    installed = dict(
        line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line and line[0] != "#"
    )
    seen = 0
    for file in (house.folder("docker") / "requirements").glob("*.txt"):
        for line in file.read_text().splitlines():
            if line.startswith("#"):
                continue
            name, version = line.split("==")
            assert installed.get(name, version) == version, file.name
            seen += 1
    assert seen


def test_a_module_that_nothing_brings_is_refused_and_can_be_named(handmade: Callable[..., Path]) -> None:
    repository = handmade(
        code="import os\nimport numpy\nfrom sklearn.svm import SVC\nimport markupsafe, jinja2\n"
    )
    with pytest.raises(RepositoryError, match=r"model\.py imports sklearn.*no package is known") as refused:
        deployment(repository, Options())
    assert "--package sklearn=NAME==VERSION" in refused.value.remedy
    found = deployment(repository, Options(packages=("sklearn=scikit-learn==1.7.2",))).packages
    assert found == ("jinja2==3.1.6", "markupsafe==3.0.4", "scikit-learn==1.7.2")


@pytest.mark.parametrize("text", ["sklearn", "sklearn=scikit-learn", "a=b==1 && rm -r /", 'a=b=="1', "=b==1"])
def test_a_package_must_be_pinned(text: str, default: Path) -> None:
    with pytest.raises(UsageError, match="is not MODULE=NAME==VERSION"):
        deployment(default, Options(packages=(text,)))


def test_code_that_cannot_be_read(handmade: Callable[..., Path]) -> None:
    with pytest.raises(RepositoryError, match="cannot be read as Python"):
        deployment(handmade(code="def ("), Options())


def test_modules_beside_the_model_are_its_own(handmade: Callable[..., Path]) -> None:
    repository = handmade(code="import helpers\nfrom parts import one\nfrom . import two\n")
    (repository / "scorer" / "1" / "helpers.py").write_text("import jinja2")
    (repository / "scorer" / "1" / "parts").mkdir()
    assert packages.pinned(packages.imports(layout.read(repository)), gpu=False)[0].startswith("jinja2==")


@pytest.mark.parametrize(
    ("kind", "dims", "batch", "tensor"),
    [
        ("TYPE_FP32", "[2, -1]", 0, {"datatype": "FP32", "shape": [2, 1], "data": [0.0, 0.0]}),
        ("TYPE_STRING", "[1]", 8, {"datatype": "BYTES", "shape": [1, 1], "data": ["Hello"]}),
        ("TYPE_INT64", "[-1]", 8, {"datatype": "INT64", "shape": [1, 1], "data": [0]}),
    ],
)
def test_probe_of_any_model(
    kind: str, dims: str, batch: int, tensor: dict[str, object], handmade: Callable[..., Path]
) -> None:
    probe, *others = probes(layout.read(handmade(kind=kind, dims=dims, batch=batch)))
    assert not others
    assert (probe.path, probe.body) == ("/v2/models/scorer/infer", {"inputs": [{"name": "x", **tensor}]})


def test_probe_of_what_json_cannot_say(handmade: Callable[..., Path]) -> None:
    probe = probes(layout.read(handmade(kind="TYPE_FP16")))[0]
    assert (probe.path, probe.body) == ("/v2/models/scorer/ready", None)


def test_without_manifests_whole_pipelines_are_probed(scripted: Path) -> None:
    (scripted / "scripted" / "1" / "manifest.json").unlink()
    assert [probe.model for probe in probes(layout.read(scripted))] == ["scripted_ensemble"]


def test_instances_are_counted(handmade: Callable[..., Path]) -> None:
    repository = handmade(instances="kind: KIND_GPU gpus: [0, 1] count: 3")
    found = deployment(repository, Options())
    assert found.python_processes == 6
    assert found.shared_memory == 7 * 256 * 2**20


@pytest.mark.parametrize(
    ("tag", "nearest"),
    [("27.05", "26.08"), ("26.9", "26.08"), ("24.11", "24.12"), ("24.10", "24.12"), ("26.08-py3", "26.08")],
)
def test_unknown_tag_names_the_nearest(tag: str, nearest: str, default: Path) -> None:
    with pytest.raises(UsageError) as refused:
        deployment(default, Options(triton=tag))
    assert refused.value.remedy == f"the nearest is --triton {nearest}"
    assert ("too old" in refused.value.found) == (tag in ("24.10", "24.11"))


@pytest.mark.parametrize("tag", ["latest", "", "nvcr.io/x"])
def test_a_tag_that_is_no_month(tag: str, default: Path) -> None:
    with pytest.raises(UsageError, match="is not in the table"):
        deployment(default, Options(triton=tag))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(bind="localhost"), "--bind 'localhost' is not an IP address"),
        (Options(bind=""), "--bind '' is not an IP address"),
        (Options(bind="127.0.0.1:80"), "is not an IP address"),
        (Options(http_port=8001), "--http-port and --grpc-port are both 8001"),
        (Options(metrics_port=8000), "--http-port and --metrics-port are both 8000"),
        (Options(gpus="some"), "--gpus 'some' is no number of GPUs"),
        (Options(gpus="0"), "--gpus '0' is no number"),
        (Options(gpus="-1"), "is no number of GPUs"),
        (Options(memory="much"), "--memory 'much' is no size"),
        (Options(memory="1g"), "--memory 1g is less than the weights"),
    ],
)
def test_options_that_cannot_be(options: Options, said: str, default: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        deployment(default, options)


def test_options_that_can_be(default: Path) -> None:
    found = deployment(default, Options(bind="::1", memory="4GiB", gpus="2"))
    assert (found.address, found.memory, found.gpus, found.on_loopback) == ("[::1]", 4 << 30, "2", True)
    assert not deployment(default, Options(bind="0.0.0.0")).on_loopback


@pytest.mark.parametrize("what", ["nothing", "file", "empty", "text"])
def test_a_folder_that_is_no_repository(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if what == "file":
        folder.write_text("")
    elif what in ("empty", "text"):
        folder.mkdir()
    if what == "text":
        (folder / "docs").mkdir()
        (folder / "docs" / "page.md").write_text("")
    with pytest.raises(RepositoryError) as refused:
        deployment(folder, Options())
    assert "to be a model repository that Triton can serve" in refused.value.expected


def test_a_config_that_cannot_be_read(handmade: Callable[..., Path]) -> None:
    repository = handmade()
    (repository / "scorer" / "config.pbtxt").write_text("unheard_of: 1")
    with pytest.raises(RepositoryError, match=r"scorer: .*unheard_of"):
        deployment(repository, Options())


def test_a_manifest_that_is_none(scripted: Path) -> None:
    (scripted / "scripted" / "1" / "manifest.json").write_text("[")
    with pytest.raises(RepositoryError, match=r"manifest\.json is no manifest"):
        deployment(scripted, Options())


def test_the_servers_arguments() -> None:
    assert tritonserver(exit_timeout=7, exit_on_error=False, arguments=("--log-verbose=1",)) == [
        *("tritonserver", "--model-repository=/models", "--disable-auto-complete-config"),
        *("--exit-on-error=false", "--exit-timeout-secs=7", "--log-verbose=1"),
    ]


def test_memory_on_the_cpu_is_told_where_there_is_some(
    default: Path, handmade: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    deployments.show(deployment(default, Options()), default, [])
    assert "weights and caches " in capsys.readouterr().out
    on_gpu = handmade(code="import onnxruntime", instances="kind: KIND_GPU gpus: [0]")
    deployments.show(deployment(on_gpu, Options(memory="8g")), on_gpu, [])
    assert "weights and caches" not in (said := capsys.readouterr().out)
    assert tables.size(8 << 30) in said
