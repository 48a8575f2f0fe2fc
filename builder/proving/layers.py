"""The source's decoder with a few matrices changed: what of it comes before them is not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from builder.gguf.parts import Place

LIST = "model.layers"
"""Where transformers' decoders keep their layers, whatever the family."""


class Layers:
    """A decoder of transformers, and what each of its layers made of some texts.

    Attributes:
        expected: log probabilities [tokens, vocabulary] of what follows each token, in float32.
    """

    def __init__(self, model: Any, rows: Sequence[Sequence[int]]) -> None:
        """Read `rows` of token ids, all as long, once as the model is."""
        import torch

        self._model = model
        self._ids = torch.tensor([list(row) for row in rows])
        self._weights = dict(model.named_parameters())
        self._layers = list(model.get_submodule(LIST))
        self._made: list[Any] = []
        self._squares: dict[str, Any] = {}
        with self._watching():
            self.expected = self._distributions(None)

    def weighed(self, names: Mapping[Place, str]) -> dict[Place, tuple[Any, Any]]:
        """Return place -> a matrix and the mean square of each of its inputs, 1 where rows are looked up."""
        import torch

        found = {}
        for place, name in names.items():
            weight = self._weights.get(name)
            if weight is None or weight.dim() < 2:
                continue
            # one table may be both: then what it multiplies counts, where most is lost
            squares = self._squares.get(name, torch.ones(weight.shape[1]))
            found[place] = (weight.data, squares)
        return found

    def divergence(self, changed: Mapping[str, Any], layer: int | None) -> float:
        """Return the mean of KL(the model || the model with `changed` tensors) in nats.

        `layer` is the one that has them, None where the embedding or the head is among them.
        """
        with self._replaced(changed):
            found = self._distributions(layer)
        return float((self.expected.exp() * (self.expected - found)).sum(dim=-1).mean())

    def _distributions(self, layer: int | None) -> Any:
        """Return log probabilities; the layers before `layer` give what they gave before."""
        import torch

        with ExitStack() as undone:
            for module, made in zip(self._layers[: layer or 0], self._made, strict=False):
                undone.enter_context(_answering(module, made))
            logits = self._model(self._ids, use_cache=False).logits[:, :-1]
        return torch.log_softmax(logits.flatten(0, 1).float(), dim=-1)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Keep what every layer makes, and the mean square of what every matrix is multiplied with."""

        def keep(module: Any, inputs: Any, output: Any) -> None:
            self._made.append(output)

        def square(name: str) -> Any:
            def note(module: Any, inputs: Any, output: Any) -> None:
                self._squares[name] = (inputs[0].flatten(0, -2).float() ** 2).mean(dim=0)

            return note

        hooks = [layer.register_forward_hook(keep) for layer in self._layers]
        places = {id(weight): name for name, weight in self._weights.items()}
        for module in self._model.modules():
            name = places.get(id(getattr(module, "weight", None)))
            if name is not None and hasattr(module, "in_features"):
                hooks.append(module.register_forward_hook(square(name)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _replaced(self, others: Mapping[str, Any]) -> Iterator[None]:
        kept = {name: self._weights[name].data for name in others}
        try:
            for name, tensor in others.items():
                self._weights[name].data = tensor
            yield
        finally:
            for name, tensor in kept.items():
                self._weights[name].data = tensor


@contextmanager
def _answering(layer: Any, output: Any) -> Iterator[None]:
    """Let a module return this, whatever it is given."""
    layer.forward = lambda *inputs, **told: output
    try:
        yield
    finally:
        # what the class has shows again
        del layer.forward
