"""A front that answers in one pass gives its source's answers, by every door and in every form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from builder import likeness
from builder.recorded import DOCUMENTS, TEXT, Ask
from builder.single_pass import SinglePass
from builder.subject import Mismatch, Skipped, expect, shortened
from builder.triton_client import TritonError

ORDER = 200
SCOPE = "single_pass"
PATIENCE = 4

AGAIN = 8
LENGTH = 200
"""Characters of a text that is asked with more before it, so that it stays within the model's limit."""
DECISIONS = ("label", "prediction")
"""Outputs that hold the best label."""


def golden_outputs_over_grpc(subject: SinglePass) -> str:
    """Every recorded input gives its source's outputs over gRPC, as near as the precision allows."""
    return _each(subject.asks, subject.good)


def golden_outputs_over_http(subject: SinglePass) -> str:
    """Every recorded input gives its source's outputs over HTTP, sent and answered as binary tensors."""
    return _each(subject.asks, lambda ask: subject.good(ask, over="http"))


def golden_outputs_as_json(subject: SinglePass) -> str:
    """Every recorded input gives its source's outputs when it is sent as plain JSON, as curl does."""
    if any(isinstance(one, bytes) for values in subject.asks[0].inputs.values() for one in values):
        raise Skipped("its inputs are bytes, which JSON cannot hold")
    return _each(subject.asks, lambda ask: subject.alike(repr(ask.id), ask.outputs, _posted(subject, ask)))


def _each(asks: Sequence[Ask], good: Callable[[Ask], None]) -> str:
    wrong = []
    for ask in asks:
        try:
            good(ask)
        except Mismatch as mismatch:
            wrong.append(str(mismatch))
    expect(not wrong, f"{len(wrong)} of {len(asks)} inputs differ, the first: {wrong[0] if wrong else ''}")
    return f"{len(asks)} inputs"


def _posted(subject: SinglePass, ask: Ask) -> dict[str, Any]:
    from builder.serving import rest

    inputs = [
        {
            "name": name,
            "datatype": raw.datatype,
            "shape": list(raw.shape),
            "data": [value.decode() if isinstance(value, bytes) else value for value in raw.values],
        }
        for name, raw in subject.tensors(ask.inputs).items()
    ]
    path = f"/v2/models/{subject.name}/infer"
    status, body = rest.call(
        subject.client.http, "POST", path, body={"inputs": inputs}, timeout=subject.client.patience
    )
    expect(status == 200, f"{ask.id!r}: HTTP {status}: {shortened(str(body), 200)}")
    return subject.row({one["name"]: _shaped(one["data"], one["shape"]) for one in body["outputs"]})


def _shaped(data: list[Any], shape: list[int]) -> Any:
    kind = np.object_ if any(isinstance(one, str) for one in data) else None
    return np.array(data, dtype=kind).reshape(shape)


def same_question_same_bits(subject: SinglePass) -> str:
    """The same request asked again, with nothing beside it, gives the same bits."""
    for ask in subject.asks[:2]:
        first = subject.ask(ask.inputs)
        for time in range(2, AGAIN + 1):
            for name, seen in subject.ask(ask.inputs).items():
                expect(
                    _same_bits(first[name], seen),
                    f"{ask.id!r}: {name} is another the time it is asked number {time}"
                    f"{_difference(first[name], seen)}",
                )
    return f"{min(2, len(subject.asks))} inputs, {AGAIN} times each"


def _same_bits(one: Any, other: Any) -> bool:
    if one.dtype == np.object_:
        return bool(one.tolist() == other.tolist())
    return bool(one.shape == other.shape and one.tobytes() == other.tobytes())


def _difference(one: Any, other: Any) -> str:
    if one.dtype == np.object_ or one.shape != other.shape:
        return f": {shortened(str(other.tolist()))}, before it was {shortened(str(one.tolist()))}"
    return f": off by {float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max()):.1e}"


def each_output_alone(subject: SinglePass) -> str:
    """A request for one output gets that one and no other, and it is the same as among all."""
    ask = subject.asks[0]
    whole = subject.row(subject.ask(ask.inputs))
    for name in whole:
        try:
            answer = subject.ask_for(ask.inputs, name)
        except TritonError as error:
            raise Mismatch(f"asked for {name} alone: {shortened(str(error), 200)}") from error
        seen = [output.name for output in answer.get_response().outputs]
        expect(seen == [name], f"asked for {name} alone, got {', '.join(seen) or 'nothing'}")
        subject.alike(f"{ask.id!r} alone", {name: whole[name]}, subject.row({name: answer.as_numpy(name)}))
    return f"{len(whole)} outputs"


def labels_by_classification(subject: SinglePass) -> str:
    """Triton's classification extension names every label with its score, the best first."""
    name, labels = subject.labels()
    asks = subject.asks[:4]
    for ask in asks:
        answer = subject.ask_for(ask.inputs, name, class_count=len(labels)).as_numpy(name)
        told = [one.decode().split(":", 2) for one in answer.reshape(-1)]
        scores = [float(score) for score, _, _ in told]
        expect(
            len(told) == len(labels), f"{ask.id!r}: {len(told)} labels were named, there are {len(labels)}"
        )
        expect(scores == sorted(scores, reverse=True), f"{ask.id!r}: the scores are in the order {scores}")
        for _, place, label in told:
            expect(
                labels[int(place)] == label,
                f"{ask.id!r}: score {place} is called {label!r}, expected {labels[int(place)]!r}",
            )
    return f"{len(asks)} answers of {len(labels)} labels"


def label_has_the_best_score(subject: SinglePass) -> str:
    """The label that is answered is the one whose score in the same answer is the highest."""
    name, labels = subject.labels()
    decisions = [one.name for one in subject.client.configs[subject.name].output if one.name in DECISIONS]
    if not decisions:
        raise Skipped("no output is a label")
    places_of = {one: [place for place, label in enumerate(labels) if label == one] for one in set(labels)}
    for ask in subject.asks:
        seen = subject.row(subject.ask(ask.inputs))
        label = str(likeness.flat(likeness.readable(seen[decisions[0]]))[0])
        values = likeness.flat(likeness.readable(seen[name]))
        expect(len(values) == len(labels), f"{ask.id!r}: {len(values)} {name} for {len(labels)} labels")
        # of two classes that share a name, the better one counts: ImageNet has two cranes
        scores = {one: max(values[place] for place in places) for one, places in places_of.items()}
        best = max(scores, key=lambda one: scores[one])
        expect(label in scores, f"{ask.id!r}: {decisions[0]} is {label!r}, none of {', '.join(labels)}")
        expect(
            scores[label] == scores[best],
            f"{ask.id!r}: {decisions[0]} is {label!r} with {scores[label]:.4g}, "
            f"but {best!r} has {scores[best]:.4g}",
        )
    return f"{len(subject.asks)} answers"


def entities_name_their_text(subject: SinglePass) -> str:
    """Entities are JSON whose places, counted in characters, hold the text that they name, in its order."""
    if not any(likeness.ENTITIES in ask.outputs for ask in subject.asks):
        raise Skipped("the model finds no entities")
    found = 0
    for ask in subject.asks:
        # places in bytes or in UTF-16 are other places behind these
        text = "\U0001f389 \u00e9\u0301 " + str(ask.inputs[TEXT][0])[:LENGTH]
        entities = json.loads(subject.ask({TEXT: [text]})[likeness.ENTITIES].reshape(-1)[0])
        begin = 0
        for one in entities:
            wanted = text[one["start"] : one["end"]]
            where = f"{ask.id!r}: {one['entity']} at {one['start']} to {one['end']}"
            expect(one["text"] == wanted, f"{where} says {one['text']!r}, there stands {wanted!r}")
            expect(begin <= one["start"] <= one["end"], f"{where} stands after one that begins at {begin}")
            expect(0 <= one["score"] <= 1, f"{where} has a score of {one['score']}")
            begin = one["start"]
        found += len(entities)
    return f"{found} entities in {len(subject.asks)} texts"


def documents_are_scored_alone(subject: SinglePass) -> str:
    """A document's score is its own: in any order, among any number, and alone."""
    if DOCUMENTS not in subject.inputs:
        raise Skipped("the model takes no documents")
    ask = subject.asks[0].trimmed(8)
    documents, scores = list(ask.inputs[DOCUMENTS]), ask.outputs["scores"]
    every = list(range(len(documents)))
    orders = {"in reverse": every[::-1], "the first alone": every[:1], "the last alone": every[-1:]}
    if subject.max_batch_size > 1:
        orders["the first twice"] = [0, 0]
    for what, order in orders.items():
        row = {**ask.inputs, DOCUMENTS: [documents[place] for place in order]}
        wanted = {"scores": [scores[place] for place in order]}
        subject.alike(f"{ask.id!r}, {what}", wanted, subject.row(subject.ask(row)))
    return f"{len(documents)} documents in {len(orders)} orders"
