"""A decoder one layer at a time: what is in memory is a layer, and what all texts are as they reach it.

Each layer is a model of transformers' own with that layer alone, so that masks, positions and a mixture's
experts are as they are in the whole.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from builder.ranks import family, matrices
from builder.ranks.convert import Prepared

_LAYER = re.compile(r"^(.*\.layers)\.(\d+)\.(.*)$")
FIRST = 0
"""Which layer of its own model each is."""


def place(name: str) -> tuple[int, str]:
    """Return the layer of a tensor, and what the tensor is called in a model with that layer alone."""
    found = _LAYER.match(name)
    if found is None:
        raise ValueError(f"Bug: {name} is of no layer")
    return int(found[2]), f"{found[1]}.{FIRST}.{found[3]}"


class Layers:
    """The layers of an unquantised checkpoint, by transformers.

    Args:
        prepared: the checkpoint, and the type that its numbers are to have.
    """

    def __init__(self, prepared: Prepared) -> None:
        import torch
        from transformers import AutoConfig

        self._dtype = prepared.dtype
        self._config = AutoConfig.from_pretrained(prepared.checkpoint.path, local_files_only=True)
        self._sources = {one.info.name: one for one in prepared.sources}
        self._embedding = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE["embedding"]
        self.count = prepared.dimensions.layers
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def embedded(self, sequences: Sequence[Sequence[int]]) -> list[Any]:
        """Return what the first layer reads of each sequence of ids, [1, tokens, hidden]."""
        import torch

        table = matrices.read(self._sources[self._embedding], self._dtype)
        return [table[torch.tensor([list(ids)])] for ids in sequences]

    def model(self, layer: int) -> Any:
        """Return transformers' model with one layer, `model.layers.0`; raise ValueError where parts lack."""
        import torch
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        config, dtype = self._alone(layer), getattr(torch, matrices.TORCH[self._dtype])
        width = config.hidden_size
        state = {
            "model.embed_tokens.weight": torch.zeros(1, width, dtype=dtype),
            "model.norm.weight": torch.ones(width, dtype=dtype),
            "lm_head.weight": torch.zeros(1, width, dtype=dtype),
        }
        for name, source in self._sources.items():
            if _LAYER.match(name) and place(name)[0] == layer:
                state[place(name)[1]] = matrices.read(source, self._dtype)
        model, found = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=dtype,
            # a quantiser watches the multiplications of each expert by itself
            experts_implementation="eager",
            output_loading_info=True,
        )
        # what is not there would be drawn by chance
        wrong = {what: sorted(map(str, names)) for what, names in found.items() if names}
        if wrong:
            raise ValueError(f"layer {layer}: {wrong}")
        return model.eval().to(self.device)

    def _alone(self, layer: int) -> Any:
        """Return the config of a model with one layer, and next to no vocabulary."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers, config.vocab_size, config.tie_word_embeddings = 1, 1, False
        config.pad_token_id = config.bos_token_id = config.eos_token_id = None
        if getattr(config, "layer_types", None):
            config.layer_types = [self._config.layer_types[layer]]
        return config

    def run(self, model: Any, state: Any) -> Any:
        """Return what a layer makes of what it reads."""
        found = []
        hook = model.model.layers[FIRST].register_forward_hook(lambda module, read, made: found.append(made))
        try:
            model(inputs_embeds=state.to(self.device), use_cache=False)
        finally:
            hook.remove()
        made = found[0]
        return (made[0] if isinstance(made, tuple) else made).cpu()
