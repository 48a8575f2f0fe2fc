"""How unlike texts are: numbers worked by hand, and real texts of several kinds."""

from __future__ import annotations

import importlib.util
import inspect
import json
import pydoc_data.topics
import random
import statistics
import tarfile
from functools import cache
from itertools import permutations
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tiny import Workshop

from builder import manifest
from builder.calibration import likeness, texts, workload
from builder.cli import main
from builder.errors import UsageError
from builder.measuring import prompts

LETTERS = "abcdefghijklmnopqrstuvwxyz"
GERMAN = (Path(__file__).parent / "german.txt").read_text(encoding="utf-8").splitlines()


def _parts(text: str, size: int = 1500) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _program(module: ModuleType) -> list[str]:
    return _parts(inspect.getsource(module))[:30]


@cache
def corpus(kind: str) -> list[str]:
    """Return real texts of a kind; a number after it says whose."""
    # Python's own manual, by the names of what it explains
    manual = [part for name in sorted(pydoc_data.topics.topics) for part in _of_topic(name)]
    order = random.Random(1)
    return {
        "chat 1": [str(one) for one in map(prompts.as_text, texts.read().prompts)],
        "chat 2": [str(one) for one in map(prompts.as_text, prompts.read())],
        "prose 1": manual[0:60:2],
        "prose 2": manual[1:61:2],
        "program 1": _program(tarfile),
        "program 2": _program(statistics),
        "German 1": GERMAN[::2],
        "German 2": GERMAN[1::2],
        "German": GERMAN,
        "random": [" ".join(order.choices(_nonsense(), k=60)) for _ in range(40)],
    }[kind]


def _of_topic(name: str) -> list[str]:
    return _parts(pydoc_data.topics.topics[name])


@cache
def _nonsense() -> list[str]:
    """Return 20,000 words that are none, as random tokens are."""
    order = random.Random(2)
    return ["".join(order.choices(LETTERS, k=order.randint(2, 9))) for _ in range(20_000)]


def unlike(ours: str, theirs: str) -> float:
    one, other = ([likeness.pieces(text) for text in corpus(kind)] for kind in (ours, theirs))
    return likeness.compare(one, other).unlike


def test_divergences_worked_by_hand() -> None:
    assert likeness.divergence("aabb", "abab") == 0
    assert likeness.divergence("aaaa", "b") == 1
    # the middle has shares 3/4 and 1/4: half of log2(4/3), and half of 1/2 log2(2/3) + 1/2 log2(2)
    assert likeness.divergence("aa", "ab") == pytest.approx(0.311278, abs=1e-6)
    assert likeness.divergence([1, 1], [1, 2]) == likeness.divergence("aa", "ab")


def test_pieces_of_several_scripts() -> None:
    assert likeness.pieces("The cat's 42 é") == ["the", "cat", "'", "s", "4", "2", "é"]
    assert likeness.pieces("东京は") == ["东", "京", "は"]
    assert likeness.pieces("if x:\n    y_1") == ["if", "x", ":", "\n    ", "y", "_", "1"]


@pytest.mark.parametrize("kind", ["chat", "prose", "program"])
def test_texts_of_a_kind_are_alike(kind: str) -> None:
    for ours, theirs in permutations([f"{kind} 1", f"{kind} 2"]):
        assert unlike(ours, theirs) < 0.28 < likeness.UNLIKE


def test_texts_in_another_language_are_alike() -> None:
    # too few to be judged, yet the figure is as small as that of more
    assert unlike("German 1", "German 2") < 0.25


@pytest.mark.parametrize(
    ("ours", "theirs", "least"),
    [
        ("prose 1", "chat 2", 0.305),
        ("chat 2", "prose 1", 0.305),
        ("program 1", "chat 2", 0.4),
        ("chat 1", "program 1", 0.4),
        ("German", "chat 2", 0.6),
        ("German", "prose 1", 0.6),
        ("chat 1", "German", 0.6),
        ("program 1", "German", 0.6),
        ("random", "chat 2", 0.75),
        ("random", "German", 0.75),
    ],
)
def test_texts_of_another_kind_are_not(ours: str, theirs: str, least: float) -> None:
    assert unlike(ours, theirs) > least > likeness.UNLIKE


def test_little_that_is_alike_is_not_called_unlike() -> None:
    # of few words most are in one half alone: the divergence is large, and so is the workload's own
    few = [likeness.pieces(text)[:80] for text in corpus("prose 1")[:8]]
    own = [likeness.pieces(text)[80:160] for text in corpus("prose 1")[:16]]
    found = likeness.compare(few, own)
    assert found.across > 0.3 and found.unlike == 0
    assert found.pieces <= 640 and likeness.compare(few[:1], own).is_judged is False


def test_the_same_texts_give_the_same_numbers() -> None:
    one, other = ([likeness.pieces(text) for text in corpus(kind)] for kind in ("chat 1", "prose 1"))
    assert likeness.compare(one, other) == likeness.compare(one, other)


def test_nothing_is_said_of_nothing() -> None:
    assert likeness.compare([], [["a"]]).pieces == 0
    assert likeness.compare([["a"]], [["a"]]).unlike == 0
    # halves that share nothing leave nothing to compare with
    assert likeness.compare([["x", "y"]], [["a"], ["b"]]).unlike == 0
    assert likeness.disorder([["a"]]) == 0


@pytest.mark.parametrize("kind", ["chat 1", "chat 2", "prose 1", "program 1", "program 2", "German"])
def test_every_language_repeats_its_words(kind: str) -> None:
    found = [likeness.pieces(text) for text in corpus(kind)]
    assert 0.1 < likeness.disorder(found) < 0.65 < likeness.NO_LANGUAGE


@pytest.mark.parametrize("text", ["def area(radius): return radius", "a b", "Name: ?, size: ?, colour: red"])
def test_texts_of_one_form_do_too(text: str) -> None:
    assert likeness.disorder([likeness.pieces(text)] * 500) < 0.05


def test_random_words_do_not_however_many() -> None:
    found = [likeness.pieces(text) for text in corpus("random")]
    assert likeness.disorder(found) > 0.85
    order = random.Random(3)
    many = [order.choices(_nonsense(), k=1000) for _ in range(60)]
    assert likeness.disorder(many) > 0.85


def written(path: Path, found: list[str]) -> Path:
    path.write_text("\n".join(json.dumps({"prompt": one}) for one in found), encoding="utf-8")
    return path


@pytest.mark.parametrize("option", ["--calibration", "--workload"])
def test_random_tokens_are_refused_with_the_numbers(option: str, tmp_path: Path) -> None:
    path = written(tmp_path / "random.jsonl", corpus("random"))
    with pytest.raises(
        UsageError, match=rf"{option} .*random.jsonl: its texts are of no language: .* 0\.9\d"
    ):
        texts.read(path, option)


def planned(*words: str | Path) -> Any:
    line = ["plan", "llama-8b", "--target", "tensorrtllm", "--gpu", "h100", "--json"]
    return CliRunner().invoke(main, [*line, *map(str, words)])


def test_a_plan_warns_with_the_numbers(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", GERMAN)
    ran = planned("--quantize", "fp8", "--workload", asked)
    assert ran.exit_code == 0
    recorded = workload.compared("", str(asked))
    assert ran.stderr == f"warning: {recorded['warning']}\n"
    assert recorded["warning"].startswith(
        "calibration texts shipped are unlike the workload asked.jsonl: their words diverge by "
        f"{recorded['across']:.2f} bits, those of the workload's own halves by {recorded['within']:.2f}, so "
        f"they are {recorded['unlike']:.0%} of the way to sharing no word, beyond 30%"
    )
    # the plan itself is the same whatever will be asked
    assert ran.stdout == planned("--quantize", "fp8").stdout
    # measured with what will be asked, there is nothing to warn of
    turned = [" ".join(words[by:] + words[:by]) for by in range(6) for words in map(str.split, GERMAN)]
    both = written(tmp_path / "both.jsonl", turned)
    assert planned("--quantize", "fp8", "--workload", asked, "--calibration", both).stderr == ""


@pytest.mark.skipif(
    importlib.util.find_spec("modelopt") is None,
    reason="what calibrates is nvidia-modelopt==0.47.0: pip install -e .[tensorrtllm]",
)
def test_a_build_warns_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = written(tmp_path / "asked.jsonl", GERMAN)
    few = written(tmp_path / "few.jsonl", corpus("chat 2")[:30])
    heard: list[str] = []

    class EnoughError(Exception):
        pass

    def warn(line: str) -> None:
        heard.append(line)
        if len(heard) == 2:
            raise EnoughError

    told = {"target": "tensorrtllm", "gpu": "h100", "quantize": "fp8", "max_context": 64}
    workshop = Workshop(tmp_path, monkeypatch)
    with pytest.raises(EnoughError):
        workshop.build(**told, calibration=str(few), workload=str(asked), warn=warn)
    assert heard[0].startswith("scales are measured with 30 texts")
    assert heard[1] == workload.compared(str(few), str(asked))["warning"]
    assert not workshop.output.exists() and not workshop.cache.exists()


def test_what_is_recorded_names_the_bytes(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", corpus("chat 2"))
    recorded = workload.compared("", str(asked))
    assert recorded["sha256"] == texts.read(asked).sha256
    assert set(recorded) == {"file", "sha256", "texts", "pieces", "across", "within", "unlike"}
    assert (recorded["file"], recorded["texts"]) == ("asked.jsonl", len(corpus("chat 2")))
    assert 0 <= recorded["unlike"] < likeness.UNLIKE
    assert workload.compared("mine.jsonl", "") == {}


def test_the_manifest_says_it_beside_what_the_converter_recorded(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", GERMAN)
    (tmp_path / "model").mkdir()
    artifact: Any = SimpleNamespace(model=tmp_path / "model")
    told: Any = SimpleNamespace(calibration="", workload=str(asked))
    assert manifest._calibration(told, artifact) == {}
    (tmp_path / "model" / "calibration.json").write_text('{"file": "shipped"}')
    recorded = manifest._calibration(told, artifact)["calibration"]
    assert recorded == {"file": "shipped", "workload": workload.compared("", str(asked))}
    told.workload = ""
    assert manifest._calibration(told, artifact) == {"calibration": {"file": "shipped"}}


def test_too_few_words_to_compare_are_told(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", ["How are you?"])
    told = workload.compared("", str(asked))["warning"]
    assert told.startswith("--workload asked.jsonl and calibration texts shipped can be compared by 2 words")


def test_a_workload_is_refused_where_nothing_is_measured(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", ["Hello"])
    ran = planned("--workload", asked)
    assert ran.exit_code == 2 and "bf16 measures no scales" in ran.stderr
    ran = planned("--quantize", "fp8", "--workload", tmp_path / "nowhere.jsonl")
    assert ran.exit_code == 2 and "--workload" in ran.stderr and "JSON lines" in ran.stderr
