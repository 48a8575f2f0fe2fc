"""Which outputs of an ensemble can be asked for alone: by the rule, and by Triton itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from builder import ensemble_pruning, layout
from builder.check import Choice, check
from builder.server import Server
from builder.triton_client import Client, Raw, TritonError

Step = tuple[Sequence[str], Sequence[str]]
"""The ensemble tensors that a step takes, and those that it makes."""

ENSEMBLES: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[Step]]] = {
    "chain": (["x"], ["y", "z"], [(["x"], ["y"]), (["y"], ["z"])]),
    "chain_of_three": (["x"], ["y", "z", "v"], [(["x"], ["y"]), (["y"], ["z"]), (["z"], ["v"])]),
    "one_input": (["x"], ["y", "z"], [(["x"], ["y"]), (["x"], ["z"])]),
    # the input that is left out counts for the first step
    "two_branches": (["x", "w"], ["y", "z"], [(["x"], ["y"]), (["w"], ["z"])]),
    "kept_by_another_output": (["x"], ["y", "z"], [(["x"], ["y", "k"]), (["y", "k"], ["z"])]),
    "handed_on": (["x"], ["y", "z"], [(["x"], ["k"]), (["k"], ["y", "z"])]),
    "one_output": (["x"], ["y"], [(["x"], ["k"]), (["k"], ["y"])]),
    "twins": (["x"], ["y", "z", "v"], [(["x"], ["y", "z"]), (["y"], ["v"])]),
}


def drawn(chance: random.Random) -> tuple[Sequence[str], Sequence[str], Sequence[Step]]:
    """Return an ensemble at random in which every tensor is taken by a step or an output."""
    inputs = ["x", "w"][: chance.randint(1, 2)]
    known, steps, taken = list(inputs), [], set[str]()
    for place in range(chance.randint(2, 5)):
        takes = chance.sample(known, min(len(known), chance.randint(1, 2)))
        if place < len(inputs):
            takes = sorted({*takes, inputs[place]})
        makes = [f"t{place}{letter}" for letter in "ab"[: chance.randint(1, 2)]]
        steps.append((takes, makes))
        taken |= set(takes)
        known += makes
    made = [name for name in known if name not in inputs]
    return inputs, [name for name in made if name not in taken or chance.random() < 0.5], steps


DRAWN = {f"drawn_{seed}": drawn(random.Random(seed)) for seed in range(48)}


def tensors(kind: str, names: Sequence[str]) -> str:
    return "".join(f'{kind} {{ name: "{name}" data_type: TYPE_FP32 dims: 1 }}\n' for name in names)


CODE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        one = sum(tensor.as_numpy() for tensor in request.inputs()) + 1
        names = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, one) for name in names])
"""


def write(folder: Path, ensembles: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[Step]]]) -> None:
    for takes in (1, 2, 3):
        for makes in (1, 2):
            version = folder / f"add_{takes}_{makes}" / "1"
            version.mkdir(parents=True)
            (version / "model.py").write_text(CODE)
            text = 'backend: "python"\ninstance_group { kind: KIND_CPU }\n'
            text += tensors("input", [f"i{place}" for place in range(takes)])
            text += tensors("output", [f"o{place}" for place in range(makes)])
            (version.parent / "config.pbtxt").write_text(text)
    for name, (inputs, outputs, steps) in ensembles.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / ".keep").write_text("")
        text = 'platform: "ensemble"\n' + tensors("input", inputs) + tensors("output", outputs)
        text += "ensemble_scheduling {\n" + "".join(map(step, steps)) + "}\n"
        (folder / name / "config.pbtxt").write_text(text)


def step(one: Step) -> str:
    maps = [
        f'{field} {{ key: "{letter}{place}" value: "{tensor}" }}'
        for field, letter, side in (("input_map", "i", one[0]), ("output_map", "o", one[1]))
        for place, tensor in enumerate(side)
    ]
    return f'step {{ model_name: "add_{len(one[0])}_{len(one[1])}" model_version: -1 {" ".join(maps)} }}\n'


def refused(folder: Path) -> dict[str, list[str]]:
    models = layout.read(folder).models
    return {name: found for name, model in models.items() if (found := ensemble_pruning.refused_alone(model))}


def test_what_is_refused_by_hand(tmp_path: Path) -> None:
    write(tmp_path, ENSEMBLES)
    assert refused(tmp_path) == {
        "chain": ["y", "z"],
        "chain_of_three": ["y", "z", "v"],
        "two_branches": ["y"],
        "kept_by_another_output": ["y"],
        "twins": ["y", "z", "v"],
    }
    found = check(tmp_path, choice=Choice(("TRN732",)))
    assert [(one.model, one.severity) for one in found] == [
        *[("chain", "warning")] * 2,
        *[("chain_of_three", "warning")] * 3,
        ("kept_by_another_output", "warning"),
        *[("twins", "warning")] * 3,
        ("two_branches", "warning"),
    ]
    assert "hand it on" in found[0].remedy
    assert "the first step" in found[-1].remedy


def test_an_ensemble_that_cannot_work_at_all_is_for_other_rules(tmp_path: Path) -> None:
    broken = {
        "no_writer": (["x"], ["y", "z", "v"], [(["x"], ["y"]), (["y"], ["z"])]),
        "no_steps": (["x"], ["y", "z"], []),
    }
    write(tmp_path, broken)
    assert refused(tmp_path) == {}


@pytest.mark.triton
def test_triton_refuses_the_same_and_answers_the_others(boot: Callable[..., Server], tmp_path: Path) -> None:
    ensembles = {**ENSEMBLES, **DRAWN}
    write(tmp_path, ensembles)
    expected = refused(tmp_path)
    assert sum(name in expected for name in DRAWN) > 4
    assert sum(name not in expected and len(DRAWN[name][1]) > 1 for name in DRAWN) > 4
    server = boot(tmp_path)
    configs = {name: model.config for name, model in layout.read(tmp_path).models.items()}
    client = Client(server.http, server.grpc, None, configs)
    for name, (inputs, outputs, _) in ensembles.items():
        given = {one: Raw("FP32", (1,), [1.0]) for one in inputs}
        whole = client.infer(name, given)
        assert set(whole) == set(outputs)
        for output in outputs:
            seen = ask_for(client, name, given, output)
            if output in expected.get(name, ()):
                assert "unexpected deadlock" in str(seen), (name, output, seen)
            else:
                np.testing.assert_array_equal(seen, whole[output], err_msg=f"{name} {output}")


def ask_for(client: Client, name: str, given: Mapping[str, Raw], output: str) -> object:
    import tritonclient.grpc as grpc

    wanted = [grpc.InferRequestedOutput(output)]
    try:
        answer = client.call(
            "grpc", "infer", name, client.tensors(grpc, name, given), outputs=wanted, client_timeout=10.0
        )
    except TritonError as error:
        return error
    return answer.as_numpy(output)
