"""A TensorRT-LLM checkpoint as a witness: read back from its ranks and its config.json, run by transformers.

The engine itself needs the GPU that it is built on, and comes after the proof. What the ranks hold is put
together here by the rules of the format, with nothing of the converter, and computed in float32: the proof is
of the numbers that trtllm-build is given, or makes of them where it rounds itself, and of inputs rounded by
the scales beside them. Caches of 8 bits, and the inputs of experts, show on the GPU alone: the served engine
answers for itself in `builder verify`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving import rank_numbers, rank_state

_FAMILIES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""TensorRT-LLM's name of the architecture -> transformers' `model_type`."""

_SAME = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_size",
    "max_position_embeddings": "max_position_embeddings",
    "rms_norm_eps": "norm_epsilon",
    "attention_bias": "attn_bias",
    "mlp_bias": "mlp_bias",
}
"""Field of transformers' config -> that of TensorRT-LLM's, for those that say the same."""


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the ranks of the artifact; of what was planned only the window of attention counts here.

    Raises ValueError where the ranks are not those of the model that their config.json describes.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    home = folder / "checkpoint"
    told = json.loads((home / "config.json").read_text(encoding="utf-8"))
    kind, fields = configuration(told, arguments)
    config = AutoConfig.for_model(kind, **fields)
    state = rank_state.State(home, told)
    model, found = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
        None,
        config=config,
        state_dict=dict(state.tensors()),
        dtype=torch.float32,
        output_loading_info=True,
    )
    # what is not there would be drawn by chance
    wrong = {what: sorted(map(str, names)) for what, names in found.items() if names}
    if wrong:
        raise ValueError(f"{home}: {wrong}")
    rank_numbers.round_inputs(
        model, dict(state.inputs()), told["quantization"]["quant_algo"] in rank_numbers.FLOAT8
    )
    return Model(model.eval())


def configuration(told: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return transformers' `model_type` and config fields of a checkpoint's config.json."""
    kind = _FAMILIES[told["architecture"]]
    fields = {name: told[other] for name, other in _SAME.items() if other in told}
    scaling = told["rotary_scaling"] or {"rope_type": "default"}
    fields["rope_parameters"] = {**scaling, "rope_theta": told["rotary_base"]}
    fields["hidden_act"] = "silu" if told["hidden_act"] == "swiglu" else told["hidden_act"]
    fields["tie_word_embeddings"] = False
    windows = arguments.get("max_attention_window_size")
    if kind in ("mistral", "mixtral"):
        fields["sliding_window"] = windows[0] if windows else None
    elif windows:
        fields |= _windows(windows, told["num_hidden_layers"])
    if "moe" in told:
        fields["num_local_experts"] = told["moe"]["num_experts"]
        fields["num_experts_per_tok"] = told["moe"]["top_k"]
    return kind, fields


def _windows(windows: Sequence[int], layers: int) -> dict[str, Any]:
    """Return Qwen's fields for windows of some layers: the others see everything."""
    every = list(windows) * layers if len(windows) == 1 else windows
    kinds = ["sliding_attention" if one == min(every) else "full_attention" for one in every]
    return {"use_sliding_window": True, "sliding_window": min(every), "layer_types": kinds}


class Model:
    """One sequence at a time; `start` begins a new one."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None

    def start(self, ids: list[int], tokens: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after the prompt."""
        self._cache = None
        return self._step(ids)

    def append(self, token: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after one more token."""
        return self._step([token])

    def read(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [tokens - 1, vocabulary] after each of these ids but the last."""
        import torch

        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self._model(torch.tensor([ids])).logits[0, :-1].numpy()
        return logits

    def _step(self, ids: list[int]) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            found = self._model(torch.tensor([ids]), past_key_values=self._cache, use_cache=True)
        self._cache = found.past_key_values
        logits: npt.NDArray[np.float32] = found.logits[0, -1].numpy()
        return logits
