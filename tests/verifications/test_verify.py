"""verify itself: what passes, what it refuses, and how it ends when the server does."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import scripted_repository
from click.testing import CliRunner
from processes import alive, children, until

from builder import verifying
from builder.cli import main
from builder.errors import UsageError, VerifyError
from builder.golden import Golden, GoldenPrompt, first_difference, kind, parting_gap, read_golden
from builder.report import Comparison, Report
from builder.serve import boot
from builder.server import Server
from builder.verify import checks, verify

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(scripted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # its own copy: Python writes compiled files beside the code it runs
    repository = tmp_path_factory.mktemp("served") / "repository"
    scripted_repository.write(repository)
    booted = boot(repository)
    yield booted
    booted.kill()


@pytest.mark.triton
def test_everything_passes_on_the_deployment_as_written(scripted: Path, server: Server) -> None:
    report = verify(scripted, server.http, server.grpc, server.metrics)
    assert [row for row in report.rows() if row[3] != "passed"] == []
    assert report.passed
    asked = [check.name for check in checks() if check.scope in ("repository", "generation")]
    assert [comparison.name for comparison in report.comparisons] == asked
    assert len(asked) >= 40


@pytest.mark.triton
def test_without_metrics_the_counters_are_skipped_aloud(scripted: Path, server: Server) -> None:
    report = verify(scripted, server.http, server.grpc, None, only=["grpc_cancel_stops_engine", "golden_ids"])
    assert [(row[2], row[3]) for row in report.rows()] == [
        ("golden_ids", "passed"),
        ("grpc_cancel_stops_engine", "skipped"),
    ]
    assert report.failures == ()
    assert "metrics" in str(report.comparisons[1].skipped)


@pytest.mark.triton
def test_a_golden_tie_is_accepted_and_counted(scripted: Path, server: Server, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(scripted, repository)
    path = repository / "scripted" / "1" / "golden.json"
    golden = json.loads(path.read_text())
    place = len(golden["prompts"][0]["output_ids"]) - 1
    golden["prompts"][0]["output_ids"][place] = 5

    def ask() -> Comparison:
        path.write_text(json.dumps(golden))
        return verify(repository, server.http, server.grpc, only=["golden_ids"]).comparisons[0]

    golden["prompts"][0]["gaps"][place] = 0.009
    accepted = ask()
    assert accepted.passed
    assert "1 parted at a gap <= 0.01: text-0" in accepted.detail
    golden["prompts"][0]["gaps"][place] = 0.011
    refused = ask()
    assert not refused.passed
    assert f"token {place} is" in refused.detail


@pytest.mark.triton
@pytest.mark.slow
def test_a_server_that_dies_fails_the_rest_quickly(scripted: Path, tmp_path: Path) -> None:
    scripted_repository.write(tmp_path / "repository")
    dying = boot(tmp_path / "repository")
    made: list[Comparison] = []

    def progress(comparison: Comparison) -> None:
        made.append(comparison)
        if len(made) == 3:
            dying.kill()

    try:
        report = verify(scripted, dying.http, dying.grpc, dying.metrics, progress=progress)
    finally:
        dying.kill()
    assert made == list(report.comparisons)
    assert [comparison.passed for comparison in made[:3]] == [True, True, True]
    assert not any(comparison.passed for comparison in made[3:])
    assert "the server stopped answering during metadata_over_grpc" in made[3].detail
    assert all(comparison.detail.startswith("not asked") for comparison in made[4:])


def test_no_server_is_one_error(scripted: Path) -> None:
    with pytest.raises(VerifyError, match=r"no server answers at http://127\.0\.0\.1:1"):
        verify(scripted, "127.0.0.1:1", "127.0.0.1:1")


@pytest.mark.triton
def test_a_wrong_grpc_port_is_named(scripted: Path, server: Server) -> None:
    with pytest.raises(VerifyError, match=r"no server answers at grpc://127\.0\.0\.1:1") as failure:
        verify(scripted, server.http, "127.0.0.1:1", server.metrics)
    assert "--grpc-url" in failure.value.remedy


@pytest.mark.triton
def test_wrong_metrics_are_named_and_guessed_ones_only_skipped(scripted: Path, server: Server) -> None:
    with pytest.raises(VerifyError, match=r"no metrics answer at http://127\.0\.0\.1:1/metrics"):
        verify(scripted, server.http, server.grpc, "127.0.0.1:1")
    # two ports after the gRPC port's neighbour there is nothing
    report = verifying.run(
        scripted, server.http, server.grpc, only=["grpc_cancel_stops_engine"], progress=lambda *_: None
    )
    assert [row[3] for row in report.rows()] == ["skipped"]


def test_a_report_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    for place, said in (
        (tmp_path / "none" / "x.xml", "does not exist"),
        (tmp_path, "is a directory"),
    ):
        done = CliRunner().invoke(main, ["verify", str(tmp_path), "--junit", str(place)])
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_server_that_never_answers_is_one_error(scripted: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(VerifyError, match="no server answers"):
            verify(scripted, address, address)


@pytest.mark.triton
def test_unknown_names_are_refused(scripted: Path, server: Server) -> None:
    with pytest.raises(UsageError, match="no check is named golden_idz"):
        verify(scripted, server.http, server.grpc, only=["golden_idz"])
    with pytest.raises(UsageError, match="llama has no manifest"):
        verify(scripted, server.http, server.grpc, names=["llama"])


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match="holds no model"):
        verify(tmp_path, "127.0.0.1:1", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "cannot be read"),
        ('{"format": 2}', "has format 2"),
        ("[]", "cannot be read"),
    ],
)
def test_a_golden_file_that_is_wrong_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "golden.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(VerifyError, match=message):
        read_golden(path)


def _prompt(name: str, inputs: int, gaps: list[float]) -> GoldenPrompt:
    return GoldenPrompt(
        name, "", None, (1,) * inputs, tuple(range(len(gaps))), "", "length", len(gaps), tuple(gaps)
    )


def test_steady_prompts_have_no_tie_and_long_answers_first() -> None:
    prompts = (
        _prompt("tie", 3, [1.0, 0.01, 1.0]),
        _prompt("short", 3, [1.0]),
        _prompt("slow", 9, [1.0, 1.0, 1.0]),
        _prompt("best", 3, [1.0, 1.0, 1.0, 0.0]),
    )
    golden = Golden(0.05, prompts)
    assert [prompt.id for prompt in golden.steady(3, 3)] == ["best", "slow", "short"]
    assert [prompt.id for prompt in golden.steady(2, 3)] == ["best", "slow"]


def test_where_every_answer_may_tie_the_surest_are_taken() -> None:
    golden = Golden(0.05, (_prompt("near", 3, [0.01]), _prompt("far", 3, [0.04])))
    assert [prompt.id for prompt in golden.steady(1, 1)] == ["far"]


def test_first_difference() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2], [1, 3]) == 1
    assert first_difference([1, 2], [1]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris is big", None),
        # cut, or longer: no token of it differs
        ("Paris", None),
        ("Paris is big, too", None),
        ("London is", 0.9),
        ("Paris was", 0.2),
        # " island" begins with all of " is": seen only in the text of " big", whose gap is wider
        ("Paris island", 0.2),
        ("Paris is old", 0.5),
    ],
)
def test_a_text_leaves_the_golden_one_at_the_gap_of_a_token(text: str, expected: float | None) -> None:
    assert parting_gap(["Paris", "Paris is", "Paris is big"], [0.9, 0.2, 0.5], text) == expected


def test_no_text_leaves_an_answer_without_tokens() -> None:
    assert parting_gap([], [], "anything") is None


def test_every_check_is_described_and_named_once() -> None:
    names = [check.name for check in checks()]
    assert len(set(names)) == len(names)
    assert [check.name for check in checks() if not check.description.endswith(".")] == []


def _report() -> Report:
    def made(name: str, passed: bool, detail: str, skipped: str | None = None) -> Comparison:
        return Comparison(name, "group", "smollm2", f"About {name}.", passed, detail, 0.5, skipped)

    odd = "odd \x00 \ud800 <b> & \U0001f389"
    return Report(
        (made("good", True, "2 ids"), made("bad", False, odd), made("absent", True, "", "no metrics")), 1.5
    )


def test_every_check_is_asked_of_the_repository_or_of_one_kind_of_front() -> None:
    assert {check.scope for check in checks()} == {"repository", "generation", "single_pass"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"kind": "single_pass"}', "single_pass"),
        # what was recorded before there were kinds
        ('{"format": 1}', "generation"),
        # whoever reads it whole says what is wrong with it
        ("[]", "generation"),
        ("{", "generation"),
        (None, "generation"),
    ],
)
def test_the_kind_of_front_that_golden_answers_were_recorded_of(
    tmp_path: Path, text: str | None, expected: str
) -> None:
    if text is not None:
        (tmp_path / "golden.json").write_text(text)
    assert kind(tmp_path / "golden.json") == expected


def test_the_report_as_json_and_junit() -> None:
    report = _report()
    assert report.summary() == "1 passed, 1 failed, 1 skipped in 1.5 s"
    assert not report.passed
    fields = json.loads(report.to_json())
    assert fields["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert [made["state"] for made in fields["comparisons"]] == ["passed", "failed", "skipped"]
    root = ElementTree.fromstring(report.to_junit())
    assert {key: root.attrib[key] for key in ("tests", "failures", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
    }
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "odd \ufffd \ufffd <b> & \U0001f389"


def test_an_empty_report_has_not_passed() -> None:
    assert not Report((), 0.0).passed


@pytest.mark.triton
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_end_from_outside_ends_the_booted_server(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    scripted_repository.write(tmp_path / "repository")
    command = [sys.executable, "-m", "builder", "verify", str(tmp_path / "repository")]
    # a test run in the background of a script ignores some of these, and so would its children
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        ),
    )
    try:
        until(lambda: children(process.pid))
        servers = children(process.pid)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert said.startswith(("error: interrupted", f"error: ended by {number.name}"))
    assert not any(alive(server) for server in servers)


def test_verify_loads_no_torch() -> None:
    code = (
        "import builder.verify, sys; builder.verify.checks(); print({'torch', 'backends'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr
