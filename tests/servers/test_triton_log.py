"""Reasons are read from Triton's log: these lines were written by tritonserver 2.51."""

from __future__ import annotations

from builder.serving import triton_log

BEGIN = 'I1121 04:22:28.893311 6981 model_lifecycle.cc:472] "loading: {}:1"\n'
LOADED = "I1121 04:17:32.891647 6781 model_lifecycle.cc:839] \"successfully loaded '{}'\"\n"
FAILED = (
    "E1121 04:23:39.225758 7290 model_lifecycle.cc:642] \"failed to load 'adder' version 1: Internal: "
    'RuntimeError: a \\"quoted\\" word\\n\\nAt:\\n  /r/adder/1/model.py(6): initialize\\n"\n'
)
POLL = (
    "[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format inference.ModelConfig: 6:22: "
    'Message type "inference.ModelConfig" has no field named "foo".\n'
    "E1121 04:24:08.679370 7635 model_repository_manager.cc:1460] \"Poll failed for model directory 'adder': "
    'failed to read text proto from /r/adder/config.pbtxt"\n'
)
ENSEMBLE = (
    'E1121 04:23:35.834561 7217 model_repository_manager.cc:703] "Invalid argument: ensemble pipeline allows '
    'maximum batch size 16, but it contains model adder which only allows maximum batch size to be 8"\n'
)


def test_a_poll_reason_carries_the_parser_position() -> None:
    reason = triton_log.reason("adder", POLL)
    assert reason is not None
    assert reason.startswith("failed to read text proto from")
    assert '6:22: Message type "inference.ModelConfig" has no field named "foo".' in reason


def test_a_parser_position_belongs_to_the_next_model_only() -> None:
    other = POLL.splitlines(keepends=True)[1].replace("adder", "other")
    assert "6:22" not in (triton_log.reason("other", POLL + other) or "")


def test_a_load_reason_is_unescaped() -> None:
    reason = triton_log.reason("adder", FAILED)
    assert reason is not None
    assert 'RuntimeError: a "quoted" word\n\nAt:\n  /r/adder/1/model.py(6): initialize' in reason


def test_a_name_is_matched_as_a_whole_word() -> None:
    assert triton_log.reason("pipeline", ENSEMBLE) is not None
    assert triton_log.reason("pipe", ENSEMBLE) is None
    assert triton_log.reason("line", ENSEMBLE) is None


def test_still_loading() -> None:
    log = BEGIN.format("adder") + BEGIN.format("slow") + BEGIN.format("fast") + LOADED.format("fast") + FAILED
    assert triton_log.still_loading(log) == ["slow"]


def test_last_lines_leave_the_tables_out() -> None:
    log = BEGIN.format("adder") + "+-----+\n| a | b |\n\nprinted by a model\n"
    assert triton_log.last_lines(log).splitlines()[-1] == "printed by a model"
    assert "|" not in triton_log.last_lines(log)
    assert triton_log.printed(log) == "printed by a model"
    assert triton_log.printed("") == "(nothing)"


def test_a_taken_port_is_seen() -> None:
    taken = 'E1121 04:24:08.679370 7635 main.cc:1] "failed to start HTTP service: Unavailable - Socket '
    assert triton_log.port_was_taken(taken + "'127.0.0.1:8000' already in use \"\n")
    assert not triton_log.port_was_taken(FAILED)
