"""Which engine a plan chooses on a CPU, by figures worked by hand."""

import json

import pytest
from click.testing import CliRunner

from builder.cli import main
from builder.errors import UsageError
from builder.planning import profile
from builder.planning.profile import Row, choose, read

ROWS = (
    Row("slow-start", 1, 50.0),
    Row("slow-start", 16, 400.0),
    Row("steady", 1, 100.0),
    Row("steady", 16, 110.0),
)


@pytest.mark.parametrize(
    ("concurrency", "expected"),
    # 4 is as far from 1 as from 16: the first measured of the two is taken
    [(1, "steady"), (3, "steady"), (5, "slow-start"), (16, "slow-start"), (1000, "slow-start")],
)
def test_the_fastest_at_the_nearest_load_is_chosen(concurrency, expected):
    assert choose(("steady", "slow-start"), concurrency, ROWS).engine == expected


def test_the_reason_names_both_figures():
    assert (
        choose(("steady", "slow-start"), 16, ROWS).why
        == "measured 400 tokens/s at 16 at once; steady 110 at 16"
    )


def test_what_was_not_measured_is_not_chosen_over_what_was():
    assert choose(("unknown", "steady"), 1, ROWS).engine == "steady"
    assert choose(("unknown", "other"), 1, ROWS) == profile.Choice("unknown", "")
    assert choose(("steady",), 1, ROWS) == profile.Choice("steady", "")


def measurement(folder, **rates):
    runs = [
        {"load": {"kind": "closed", "concurrency": int(name[1:])}, "tokens_per_second": value}
        for name, values in rates.items()
        for value in values
    ]
    file = folder / "measured.json"
    file.write_text(json.dumps({"runs": [{"load": {"kind": "open", "rate": 2.0}}, *runs]}))
    return file


def test_repeats_count_by_their_median(tmp_path):
    file = measurement(tmp_path, c1=[10.0, 90.0, 20.0], c16=[5.0])
    assert read(f"mine={file}") == (Row("mine", 1, 20.0), Row("mine", 16, 5.0))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"runs": []}', '{"runs": [{"load": 3}]}', '{"runs": {"a": 1}}']
)
def test_what_is_no_measurement_is_refused(tmp_path, content):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="--profile mine="):
        read(f"mine={file}")


@pytest.mark.parametrize("option", ["", "mine", "mine=", "=file.json", "mine=absent.json"])
def test_a_misspelt_option_is_refused(option):
    with pytest.raises(UsageError, match="--profile"):
        read(option)


def test_the_users_own_figures_replace_the_shipped_ones(tmp_path):
    file = measurement(tmp_path, c1=[100000.0], c16=[100000.0])
    words = ["plan", "smollm2", "--json", "--profile", f"onnxruntime_genai={file}"]
    result = CliRunner().invoke(main, words)
    planned = json.loads(result.stdout)
    assert planned["engine"] == "onnxruntime_genai"
    assert planned["engine_why"].startswith("measured 100000 tokens/s at 16 at once; onnxruntime ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "minilm --profile onnxruntime=FILE",
            ["only onnxruntime runs what is planned", "leave --profile out"],
        ),
        ("vit-base --gpu h200 --profile a=FILE", ["only onnxruntime runs"]),
        ("iris --profile nothing", ["--profile nothing", "only onnxruntime runs"]),
        ("llama-8b --gpu h200 --profile onnxruntime=FILE", ["only vllm runs"]),
        ("smollm2 --profile vllm=FILE", ["--profile vllm=", "onnxruntime or onnxruntime_genai"]),
    ],
)
def test_a_measurement_that_can_choose_nothing_is_refused(tmp_path, line, words):
    file = measurement(tmp_path, c1=[10.0], c16=[50.0])
    result = CliRunner().invoke(main, ["plan", *line.replace("FILE", str(file)).split()])
    assert result.exit_code == 2
    assert all(word in " ".join(result.stderr.split()) for word in words), result.stderr


def test_the_shipped_profile_knows_every_cpu_engine_of_a_target_with_several():
    measured = {row.engine for row in profile.shipped()}
    from builder.targets import onnx

    assert set(onnx.ENGINES["cpu"]) <= measured
