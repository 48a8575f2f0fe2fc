"""What --fit plans: within the size, exact to the byte, better with more room; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from planning import planned, subject

from builder.architecture import Dimensions
from builder.cli import main
from builder.errors import BuilderError, PlanError, UsageError
from builder.gguf import mixes, parts
from builder.planning import sensitivities
from builder.planning.mixture import Mixture
from builder.planning.sensitivities import Sensitivities

WHERE = "--max-context 1024 --concurrency 4"
KINDS = parts.kinds("fp32")


def dimensions() -> Dimensions:
    found = subject("smollm2").dimensions
    assert isinstance(found, Dimensions)
    return found


def least() -> int:
    """Return the smallest --fit, as the refusal of less says it."""
    with pytest.raises(PlanError) as caught:
        planned("smollm2", f"--fit 1KB {WHERE}")
    said = caught.value.expected.removeprefix("at least --fit ").removesuffix("MB")
    return int(said) * 10**6


def mixture(size: int, more: str = "") -> Mixture:
    found = planned("smollm2", f"--fit {size} {WHERE} {more}").mixture
    assert found is not None
    return found


def profile(path: Path, changed: dict[str, Any] | None = None) -> Path:
    """Write a profile of smollm2 in which only the embedding loses anything worth to keep."""
    losses = {
        part: {kind: 0.001 / (number + 1) for number, kind in enumerate(KINDS)}
        for part in parts.parts_of(dimensions())
    }
    losses["embedding"] = {kind: 4.0 / (number + 1) for number, kind in enumerate(KINDS)}
    told = sensitivities.to_json(
        Sensitivities(losses, {"model.gguf": "ab"}, "cd", 252), {"texts": {"file": "shipped"}}
    )
    path.write_text(json.dumps({**told, **(changed or {})}))
    return path


def test_the_least_that_is_named_fits_and_less_does_not() -> None:
    size = least()
    assert mixture(size).size > 0
    with pytest.raises(PlanError, match="does not fit"):
        mixture(size - 10**6)


def test_what_is_planned_stays_within_the_size() -> None:
    start = least()
    losses = []
    for size in range(start, start + 400_000_000, 20_000_000):
        plan = planned("smollm2", f"--fit {size} {WHERE}")
        assert plan.mixture is not None
        assert plan.memory.used <= size
        assert plan.memory.weights == plan.mixture.size
        losses.append(plan.mixture.loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_bytes_are_those_of_the_types() -> None:
    """By hand: rows of 576 are 18 blocks of 32 in 18 bytes of IQ4_NL, those of down 6 of 84 in Q2_K."""
    found = mixture(least())
    embedding, layer = 49152 * 18 * 18, (2 * 576 + 2 * 192 + 2 * 1536) * 18 * 18
    down, vectors = 576 * 6 * 84, 4 * (61 * 576)
    # what was left of the last MB may have made a part larger
    smallest = embedding + 30 * (layer + down) + vectors
    assert smallest <= found.size < smallest + 10**6
    assert {found.tensors[f"blk.{number}.ffn_down.weight"] for number in range(30)} <= {"Q2_K", "Q3_K"}
    assert found.tensors["token_embd.weight"] == "IQ4_NL"
    assert len(found.tensors) == 1 + 30 * 7


def test_parts_and_tensors_say_the_same() -> None:
    sizes = dimensions()
    found = mixture(least() + 20_000_000)
    shapes = dict(mixes.matrices(sizes))
    for part, places in parts.parts_of(sizes).items():
        (kind,) = found.parts[part].kind.split("+")
        assert found.parts[part].size == sum(mixes.size(kind, shapes[place]) for place in places)
    assert found.size == sum(part.size for part in found.parts.values()) + 4 * 61 * 576


def test_room_for_all_takes_the_best_and_says_so() -> None:
    found = mixture(6 * 10**9)
    assert found.unbound and found.loss == 0
    assert set(found.tensors.values()) == {"F32"}
    assert not mixture(least()).unbound
    done = CliRunner().invoke(main, ["plan", "smollm2", "--fit", "6GB", *WHERE.split()])
    assert "a larger --fit changes nothing" in done.stdout


def test_a_profile_decides_what_is_kept(tmp_path: Path) -> None:
    file = profile(tmp_path / "profile.json")
    found = mixture(least() + 15_000_000, f"--sensitivities {file}")
    assert found.measured and found.texts == "cd"
    assert found.parts["embedding"].kind == "Q8_0"
    assert found.parts["29.attention"].kind == "IQ4_NL"
    assert not mixture(least() + 15_000_000).measured


def test_a_profile_that_is_not_there_yet_is_the_builds_to_write(tmp_path: Path) -> None:
    assert not mixture(least(), f"--sensitivities {tmp_path / 'later.json'}").measured


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = sensitivities.read(profile(tmp_path / "profile.json"), dimensions(), KINDS)
    assert found.losses["embedding"]["Q3_K"] == 2.0
    assert (found.source, found.texts, found.tokens) == ({"model.gguf": "ab"}, "cd", 252)


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "another format": ({"format": 2}, "of format 2"),
    "no losses": ({"losses": None}, "profile.json"),
    "a loss that is no number": ({"losses": {"embedding": {"Q2_K": float("nan")}}}, "no number"),
    "a negative loss": ({"losses": {"embedding": {"Q2_K": -1}}}, "negative"),
    "no source": ({"source": {}}, "no files of a checkpoint"),
    "no texts": ({"texts": {}}, "it has no 'sha256'"),
    "another model's parts": (
        {"losses": {"embedding": {"Q2_K": 1}}},
        "of another model: it has 1 parts, of 91",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_profile_is_refused(kind: str, tmp_path: Path) -> None:
    changed, said = DAMAGE[kind]
    file = profile(tmp_path / "profile.json", changed)
    with pytest.raises(UsageError, match="--sensitivities") as caught:
        mixture(least(), f"--sensitivities {file}")
    assert said in str(caught.value)
    assert "measures" in caught.value.remedy


def test_a_cut_profile_is_refused(tmp_path: Path) -> None:
    file = profile(tmp_path / "profile.json")
    file.write_text(file.read_text()[:-40])
    with pytest.raises(UsageError, match="remove it"):
        mixture(least(), f"--sensitivities {file}")


REFUSED = {
    "smollm2 --fit 400MB --quantize q8_0": ["both say how weights are rounded", "one of them"],
    "smollm2 --fit 400MB --target onnx": ["--target onnx", "--target llamacpp on a CPU"],
    "smollm2 --fit 400MB --gpu l4": ["--gpu l4", "name a --quantize"],
    "smollm2 --quantize mixed": ["--fit SIZE"],
    "smollm2 --sensitivities x.json": ["--sensitivities without --fit"],
    "minilm --fit 400MB": ["does not generate text"],
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_does_not_go_along(line: str) -> None:
    name, _, rest = line.partition(" ")
    with pytest.raises(UsageError) as caught:
        planned(name, rest)
    for word in REFUSED[line]:
        assert word in str(caught.value)


def test_too_small_a_size_names_ways_out_that_work() -> None:
    with pytest.raises(BuilderError) as caught:
        planned("smollm2", "--fit 1GB")
    ways = [way.strip(" `,.or") for way in caught.value.remedy.removeprefix("use ").split("`") if "--" in way]
    assert len(ways) == 3
    for way in ways:
        # what is named last counts
        assert planned("smollm2", f"--fit 1GB {way}").mixture is not None


@pytest.mark.parametrize("words", [["--fit", "nonsense"], ["--fit", "0"], ["--fit", "1KB"]])
def test_faults_end_a_command(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["plan", "smollm2", *words])
    assert done.exit_code == (1 if words[1] == "1KB" else 2)
    assert "Traceback" not in done.output and "--fit" in done.output


def test_the_plan_of_a_mixture_is_json_with_each_type() -> None:
    done = CliRunner().invoke(main, ["plan", "smollm2", "--fit", f"{least()}", *WHERE.split(), "--json"])
    told = json.loads(done.stdout)
    assert told["quantize"] == "mixed"
    assert told["mixture"]["tensors"]["token_embd.weight"] == "IQ4_NL"
    assert told["mixture"]["parts"]["29.down"]["kind"] in ("Q2_K", "Q3_K")
    assert "mixture" not in planned("smollm2").to_json()
