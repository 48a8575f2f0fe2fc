"""A conversion that is killed anywhere goes on where it was, and ends as if nothing had been."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import killed_conversions
import numpy as np
import pytest
import tiny_decoders
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from builder import files, safetensors_file
from builder.errors import BuilderError, ConversionError, SourceError, UsageError
from builder.exporting import tensorrt_llm
from builder.ranks import blocks, disk, journal, unfinished
from builder.ranks import convert as converter
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division
from builder.ranks.journal import Journal

ASKED = Ranks(Division(tensor=2, pipeline=2))
LAST = "model.norm.weight"
"""The tensor that lies last in a file of its own."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks and steps as small as the models; one thread, so that a place is the same one each time."""
    monkeypatch.setattr(blocks, "BYTES", 512)
    monkeypatch.setattr(blocks, "THREADS", 1)
    monkeypatch.setattr(journal, "STEP", 20_000)
    # what a disk has after a power loss `killed_conversions.py` decides itself
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "fdatasync", lambda file: None)


def source(folder: Path) -> Path:
    told = tiny_decoders.config("llama")
    weights = tiny_decoders.weights(told)
    tiny_decoders.write(folder / "source", told, weights)
    return folder / "source"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def interrupted(folder: Path, asked: Ranks = ASKED, share: float = 0.5, out: str = "out") -> int:
    """Convert up to a share, where Ctrl-C comes; return the bytes that the journal says are done."""

    def interrupt(done: int, total: int) -> None:
        if done >= share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder / "source", folder / out, asked, interrupt)
    assert not (folder / out).exists()
    lines = (folder / f".{out}.part" / "journal").read_text().split()
    return int(lines[-2])


def resumed(folder: Path, asked: Ranks = ASKED, out: str = "out") -> list[str]:
    """Convert to the end; return what was said. What was left is gone."""
    said: list[str] = []
    convert(folder / "source", folder / out, asked, say=said.append)
    assert not (folder / f".{out}.part").exists()
    return said


def require_as_in_one_go(folder: Path, asked: Ranks = ASKED) -> None:
    convert(folder / "source", folder / "expected", asked)
    assert contents(folder / "out") == contents(folder / "expected")
    assert names(folder) == ["expected", "out", "source"]


def killed(folder: Path, out: str, *words: str) -> list[dict[str, Any]]:
    program = [sys.executable, killed_conversions.__file__, str(folder / "source"), str(folder / out), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_whole_after_kills(folder: Path, seed: int, kills: int, *words: str) -> None:
    source(folder)
    (whole,) = killed(folder, "expected", "0")
    drawn = random.Random(seed)
    places = [str(drawn.randint(1, whole["lines"])) for _ in range(kills)]
    *_, last = killed(folder, "out", *words, *places, "0")
    if last["killed"]:
        # in the last moment: whoever comes next finds the ranks, and tidies up
        with pytest.raises(UsageError, match="not empty"):
            convert(folder / "source", folder / "out", killed_conversions.ASKED)
    assert contents(folder / "out") == contents(folder / "expected")
    assert names(folder) == ["expected", "out", "source"]


@pytest.mark.parametrize("words", [(), ("--power",)])
def test_killed_at_any_line_again_and_again(words: tuple[str, ...], tmp_path: Path) -> None:
    require_whole_after_kills(tmp_path, 1, 8, *words)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("words", [(), ("--power",)])
def test_killed_at_many_lines(words: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    require_whole_after_kills(tmp_path, seed, 20, *words)


@settings(max_examples=8, deadline=None)
@example([1.0, 0.0], 2, "", 1, False)
@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    tensor=st.sampled_from([1, 2, 4]),
    dtype=st.sampled_from(["", "bf16"]),
    threads=st.sampled_from([1, 2]),
    parallel_embedding=st.booleans(),
)
def test_interrupted_anywhere(
    shares: list[float], tensor: int, dtype: str, threads: int, parallel_embedding: bool
) -> None:
    blocks.THREADS = threads
    asked = Ranks(Division(tensor), dtype, parallel_embedding)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source(folder)
        for share in shares:
            # where all was done, there is nothing left to interrupt
            with contextlib.suppress(KeyboardInterrupt):
                convert(folder / "source", folder / "out", asked, _interrupt_at(share))
                break
        else:
            resumed(folder, asked)
        require_as_in_one_go(folder, asked)


def _interrupt_at(share: float) -> Callable[[int, int], None]:
    def interrupt(done: int, total: int) -> None:
        # what goes on beyond the place is interrupted all the same
        if done >= share * total:
            raise KeyboardInterrupt

    return interrupt


def test_what_is_on_the_disk_is_neither_read_nor_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source(tmp_path) / "model.safetensors"
    done = interrupted(tmp_path)
    data = path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little")
    assert 0 < done <= data
    # marked in what the first block became: written again, it would not be
    marked = tmp_path / ".out.part" / "ranks" / "rank2.safetensors"
    place = safetensors_file.read_header(marked).places["lm_head.weight"]
    with marked.open("r+b") as file:
        file.seek(place)
        file.write(b"mark")
    read: list[int] = []
    own = disk.read

    def counted(file: int, into: memoryview, place: int, path: Path) -> None:
        read.append(len(into))
        own(file, into, place, path)

    monkeypatch.setattr(disk, "read", counted)
    assert resumed(tmp_path) == [f"going on at {100 * done // data} %"]
    assert sum(read) == data - done
    assert (tmp_path / "out" / marked.name).read_bytes()[place : place + 4] == b"mark"


def touched(folder: Path) -> None:
    os.utime(folder / "source" / "model.safetensors")


def other_numbers_of_the_same_time(folder: Path) -> None:
    """As in archives whose times are all set to the same one."""
    path = folder / "source" / "model.safetensors"
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"1111")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_config(folder: Path) -> None:
    told = json.loads((folder / "source" / "config.json").read_text())
    (folder / "source" / "config.json").write_text(json.dumps({**told, "rope_theta": 5000.0}))


def another_way_of_ours(folder: Path) -> None:
    blocks.BYTES = 1024


def lost_rank(folder: Path) -> None:
    (folder / ".out.part" / "ranks" / "rank3.safetensors").unlink()


def cut_rank(folder: Path) -> None:
    path = folder / ".out.part" / "ranks" / "rank1.safetensors"
    os.truncate(path, path.stat().st_size - 1)


def other_header(folder: Path) -> None:
    with (folder / ".out.part" / "ranks" / "rank1.safetensors").open("r+b") as file:
        file.seek(12)
        file.write(b"?")


def more_files(folder: Path) -> None:
    (folder / ".out.part" / "ranks" / "rank4.safetensors").touch()


@pytest.mark.parametrize(
    "change",
    [
        *(touched, other_numbers_of_the_same_time, other_config, another_way_of_ours),
        *(lost_rank, cut_rank, other_header, more_files),
    ],
)
def test_what_has_changed_begins_at_the_beginning(change: Callable[[Path], None], tmp_path: Path) -> None:
    source(tmp_path)
    interrupted(tmp_path)
    change(tmp_path)
    assert resumed(tmp_path) == []
    require_as_in_one_go(tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, dtype="bf16"),
        replace(ASKED, division=Division(tensor=4)),
        replace(ASKED, parallel_embedding=True),
        replace(ASKED, dtype="fp16", rounding="W8A16"),
    ],
)
def test_other_options_begin_at_the_beginning(asked: Ranks, tmp_path: Path) -> None:
    source(tmp_path)
    interrupted(tmp_path)
    assert resumed(tmp_path, asked) == []
    require_as_in_one_go(tmp_path, asked)


def test_another_model_of_the_same_files_names_sizes_and_times(tmp_path: Path) -> None:
    source(tmp_path)
    shutil.copytree(tmp_path / "source", tmp_path / "twin")
    interrupted(tmp_path)
    said: list[str] = []
    convert(tmp_path / "twin", tmp_path / "out", ASKED, say=said.append)
    assert said == []


def refused(folder: Path, error: type[BuilderError], words: str) -> None:
    with pytest.raises(error, match=words):
        convert(folder / "source", folder / "out", ASKED)
    assert names(folder) == ["source"]


def test_a_source_that_is_refused_further_on_takes_what_was_left_with_it(tmp_path: Path) -> None:
    path = source(tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights[LAST][-1] = np.nan
    save_file(weights, path)
    interrupted(tmp_path, share=0.3)
    refused(tmp_path, SourceError, LAST)


def test_a_source_that_was_cut_meanwhile_too(tmp_path: Path) -> None:
    path = source(tmp_path) / "model.safetensors"
    interrupted(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    refused(tmp_path, SourceError, "is truncated")


def test_what_is_asked_wrongly_or_is_elsewhere_takes_nothing(tmp_path: Path) -> None:
    source(tmp_path)
    interrupted(tmp_path)
    with pytest.raises(BuilderError, match="--tp 3"):
        convert(tmp_path / "source", tmp_path / "out", Ranks(Division(tensor=3)))
    (tmp_path / "source").rename(tmp_path / "away")
    with pytest.raises(SourceError):
        convert(tmp_path / "source", tmp_path / "out", ASKED)
    (tmp_path / "away").rename(tmp_path / "source")
    assert (tmp_path / ".out.part" / "journal").exists()


@pytest.mark.parametrize(("number", "stays"), [(errno.EIO, True), (errno.ENOSPC, False)])
def test_a_disk_that_fails(number: int, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes back is gone on with; one that is full is given back its room."""
    source(tmp_path)
    done = interrupted(tmp_path, share=0.3)
    with monkeypatch.context() as failing:

        def sync(file: int) -> None:
            raise OSError(number, os.strerror(number))

        failing.setattr(os, "fdatasync", sync)
        with pytest.raises(ConversionError, match=os.strerror(number)):
            convert(tmp_path / "source", tmp_path / "out", ASKED)
    assert (tmp_path / ".out.part").exists() == stays
    total = sum(one.nbytes for one in load_file(tmp_path / "source" / "model.safetensors").values())
    # nothing that could not be synced is in the journal
    assert resumed(tmp_path) == ([f"going on at {100 * done // total} %"] if stays else [])
    require_as_in_one_go(tmp_path)


def test_files_are_synced_before_the_journal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    own = os.fdatasync

    def sync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink().name)
        own(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    source(tmp_path)
    interrupted(tmp_path)
    ranks = [f"rank{number}.safetensors" for number in range(4)]
    assert synced and synced == [*ranks, "journal"] * (len(synced) // 5)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 10**13), max_size=5), cut=st.integers(0, 400), tail=st.binary(max_size=40)
)
def test_a_journal_that_is_torn_says_what_was_whole_in_it(counts: list[int], cut: int, tail: bytes) -> None:
    counts = sorted(counts)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        sizes = []
        for count in counts:
            Journal(path, "a" * 64).add(count)
            sizes.append(path.stat().st_size)
        held = path.read_bytes()[:cut] if counts else b""
        path.write_bytes(held + tail)
        whole = [count for count, size in zip(counts, sizes, strict=True) if size <= cut]
        # what was cut off a line's end may follow as garbage
        nearly = [count for count, size in zip(counts, sizes, strict=True) if size - 10 <= cut]
        assert Journal(path, "a" * 64).done in {*nearly, whole[-1] if whole else 0}
        assert Journal(path, "b" * 64).done == 0
        Journal(path, "a" * 64).add(10**14)
        if cut >= 65 and counts:
            assert Journal(path, "a" * 64).done == 10**14


def test_a_digit_of_a_journal_that_flipped_says_nothing(tmp_path: Path) -> None:
    for count in (1000, 2000):
        Journal(tmp_path / "journal", "a").add(count)
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text.replace("2000", "9000"))
    assert Journal(tmp_path / "journal", "a").done == 1000


@pytest.mark.parametrize("heard", ["at the next call", "at the end"])
def test_a_disk_that_fails_once_in_the_background_is_heard_of(
    heard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "STEP", 1)
    path, failures = tmp_path / "journal", iter([OSError(errno.EIO, "the disk is gone")])

    def sync(file: int) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr(os, "fdatasync", sync)
    with pytest.raises(OSError, match="the disk is gone"), journal.kept(Journal(path, "a"), [-1]) as reached:
        for count in itertools.count(1) if heard == "at the next call" else [1]:
            reached(count)
            time.sleep(0.001)
            assert not path.exists()
    assert not path.exists()


def test_what_comes_after_a_gap_is_not_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread holds the first block while the other does all others."""
    monkeypatch.setattr(blocks, "THREADS", 2)
    prepared = converter.prepare(source(tmp_path), ASKED)
    some = prepared.sources[:3]
    cut = list(blocks.cut(some, {one.path: 0 for one in some}, {}))
    total, others_done, reached = sum(one.nbytes for one in cut), threading.Event(), list[int]()

    def work(block: Any, room: memoryview) -> None:
        if block is cut[0]:
            assert others_done.wait(60)

    def progress(done: int, total: int) -> None:
        if done == total - cut[0].nbytes:
            others_done.set()

    blocks.run(iter(cut), work, blocks.largest(some), total, progress, 0, reached.append)
    assert reached == [0] * (len(cut) - 1) + [total]


def test_where_numbers_go_is_of_a_conversion_s_identity(tmp_path: Path) -> None:
    """A family that changed is another conversion, though sizes and names are the same."""
    prepared = converter.prepare(source(tmp_path), ASKED)
    first, *others = prepared.ranks
    tensor = next(one for one in first.tensors if len(one.pieces) > 1)
    turned = replace(tensor, pieces=tensor.pieces[::-1])
    other = replace(first, tensors=tuple(turned if one is tensor else one for one in first.tensors))
    found = {
        unfinished.identity(prepared.sources, ranks, prepared.described)
        for ranks in (prepared.ranks, [other, *others])
    }
    assert len(found) == 2


def test_who_is_done_leaves_the_folder_of_who_came_next(tmp_path: Path) -> None:
    with unfinished.claimed(tmp_path / "part", pytest.fail):
        shutil.rmtree(tmp_path / "part")
        with unfinished.claimed(tmp_path / "part", pytest.fail) as second:
            second.ranks.mkdir()
            theirs = names(tmp_path / "part")
            kept = shutil.copytree(tmp_path / "part", tmp_path / "kept")
        shutil.move(kept, tmp_path / "part")
    assert names(tmp_path / "part") == theirs


def test_what_a_kill_in_the_last_moment_leaves_is_tidied_up(tmp_path: Path) -> None:
    source(tmp_path)
    interrupted(tmp_path)
    (tmp_path / ".out.part" / "ranks").rename(tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        convert(tmp_path / "source", tmp_path / "out", ASKED)
    assert names(tmp_path) == ["out", "source"]


def convert_in_a_thread(folder: Path, out: str, **more: Any) -> tuple[threading.Thread, list[BaseException]]:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            convert(folder / "source", folder / out, ASKED, **more)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, failed


@pytest.mark.parametrize("ending", ["whole", "interrupted"])
@pytest.mark.parametrize("second", ["out", "other"])
def test_of_two_at_once_the_second_waits(ending: str, second: str, tmp_path: Path) -> None:
    """For one OUT the second is refused once the first is whole; for another it has all from the first."""
    source(tmp_path)
    waits, part = threading.Event(), tmp_path / "part"
    said: list[str] = []

    def first_progress(done: int, total: int) -> None:
        if 2 * done > total:
            assert waits.wait(60)
            if ending == "interrupted":
                raise KeyboardInterrupt

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    begun = threading.Event()
    first, failed = convert_in_a_thread(
        tmp_path, "out", part=part, progress=lambda *told: (begun.set(), first_progress(*told))
    )
    assert begun.wait(60)
    later, refused = convert_in_a_thread(tmp_path, second, part=part, say=say)
    first.join()
    later.join()
    assert said[0] == f"waiting for another conversion, which works in {part}"
    assert [type(one) for one in failed] == ([KeyboardInterrupt] if ending == "interrupted" else [])
    is_refused = (ending, second) == ("whole", "out")
    assert [type(one) for one in refused] == ([UsageError] if is_refused else [])
    assert said[1:] == ([] if is_refused else ["going on at 100 %"]) or ending == "interrupted"
    made = {"out"} if ending == "whole" else set()
    unfinished.discard(part)
    assert set(names(tmp_path)) == {"source", second, *made}
    convert(tmp_path / "source", tmp_path / "expected", ASKED)
    for one in {second, *made}:
        assert contents(tmp_path / one) == contents(tmp_path / "expected")


def test_where_the_place_for_it_has_gone_the_work_stays(tmp_path: Path) -> None:
    """As the stage of a build whose own process was killed, and swept by the next."""
    source(tmp_path)
    stage = tmp_path / "stage"

    def sweep(done: int, total: int) -> None:
        if done == total:
            shutil.rmtree(stage)

    with pytest.raises(ConversionError):
        convert(tmp_path / "source", stage / "out", ASKED, sweep, tmp_path / "part")
    said: list[str] = []
    convert(tmp_path / "source", tmp_path / "out", ASKED, None, tmp_path / "part", said.append)
    assert said == ["going on at 100 %"]
    assert names(tmp_path / "part") == ["journal", "lock", "ranks"]
    unfinished.discard(tmp_path / "part")
    require_as_in_one_go(tmp_path)


def test_the_command_says_where_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(journal, "STEP", 1)
    monkeypatch.setattr(blocks, "THREADS", 1)
    source(tmp_path)
    interrupted(tmp_path)
    words = tensorrt_llm.command(tmp_path / "source", tmp_path / "out", ASKED)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("going on at ") and last == "converted 100 %"
    assert 0 < tensorrt_llm.share(f"{first}\n") < 1
    require_as_in_one_go(tmp_path)


def test_where_nobody_waits_the_last_line_alone_is_printed(tmp_path: Path) -> None:
    source(tmp_path)
    *words, asked = tensorrt_llm.command(tmp_path / "source", tmp_path / "out", ASKED)
    assert asked == "--percents"
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "converted 100 %\n")


def test_another_way_to_the_same_folder_removes_what_was_left(tmp_path: Path) -> None:
    source(tmp_path)
    interrupted(tmp_path)
    prepared = converter.prepare(tmp_path / "source", ASKED)
    with converter.written(tmp_path / "out", prepared.ranks, prepared.described):
        assert not (tmp_path / ".out.part").exists()


def test_what_is_smoothed_goes_with_its_process(tmp_path: Path) -> None:
    """The ranks' own stage is swept while it is in use."""
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1, check=True)
    (tmp_path / f".smoothed-out.{int(gone.stdout)}").mkdir()
    with files.scratch(tmp_path / "smoothed-out") as room, files.staged(tmp_path / "out"):
        assert [one for one in tmp_path.iterdir() if "smoothed" in one.name] == [room]
    assert names(tmp_path) == ["out"]
