"""An artifact is whole or not there, and made once."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import hidden, tree

from builder import child, convert, files, source, subjects
from builder.errors import ConversionError, UsageError
from builder.plan import Options, plan
from builder.target import Job
from builder.targets import onnx

SILENT = lambda doing, share: None  # noqa: E731


def artifact(workshop, progress=SILENT, **options):
    subject, found = subjects.read("tiny", str(workshop.checkpoint), None)
    return convert.convert(plan(subject, Options(**options)), found, progress)


def test_the_artifact_holds_model_and_one_tokenizer(workshop):
    found = artifact(workshop)
    assert sorted(path.name for path in found.model.iterdir()) == [
        "genai_config.json",
        "model.onnx",
        "model.onnx.data",
    ]
    assert (found.tokenizer / "tokenizer.json").read_bytes() == (
        workshop.checkpoint / "tokenizer.json"
    ).read_bytes()
    assert (found.tokenizer / "chat_template.jinja").read_text() == "{{ messages[0].content }}"
    assert found.settings == {"bos_id": 1, "end_ids": [2], "pad_id": 2}
    assert found.digests == {
        **{f"model/{name}": digest for name, digest in files.digests(found.model).items()},
        **{f"tokenizer/{name}": digest for name, digest in files.digests(found.tokenizer).items()},
    }
    assert found.source_digests == {
        name: digest
        for name, digest in files.digests(workshop.checkpoint).items()
        if name in found.source_digests
    }
    assert "model.safetensors" in found.source_digests


def test_the_second_time_it_is_found(workshop):
    first, second = artifact(workshop), artifact(workshop)
    assert first == second
    assert workshop.runs() == 1


def test_everything_that_decides_its_bytes_decides_its_key(workshop):
    keys = {artifact(workshop).key, artifact(workshop, quantize="fp32").key}
    config = workshop.checkpoint / "config.json"
    config.write_text(config.read_text().replace("10000.0", "20000.0"))
    keys.add(artifact(workshop).key)
    assert len(keys) == 3
    assert workshop.runs() == 3


def test_what_does_not_decide_its_bytes_does_not(workshop):
    assert artifact(workshop).key == artifact(workshop, max_context=64, concurrency=1).key
    assert workshop.runs() == 1


def test_an_artifact_that_was_touched_is_made_again(workshop):
    """Repositories link to the artifact's files: whoever edits one in place edits the cache."""
    data = artifact(workshop).model / "model.onnx.data"
    before = data.read_bytes()
    data.write_bytes(b"edited in the repository")
    assert (artifact(workshop).model / "model.onnx.data").read_bytes() == before
    assert workshop.runs() == 2


def test_editing_a_tokenizer_never_edits_the_checkpoint(workshop):
    before = tree(workshop.checkpoint)
    (artifact(workshop).tokenizer / "tokenizer.json").write_text("edited")
    assert tree(workshop.checkpoint) == before


@pytest.mark.parametrize("lost", ["artifact.json", "model/model.onnx"])
def test_an_artifact_that_lost_a_file_is_made_again(workshop, lost):
    first = artifact(workshop)
    (first.model.parent / lost).unlink()
    assert artifact(workshop) == first
    assert (first.model.parent / lost).is_file()


@pytest.mark.parametrize("how", ["fail", "killed"])
def test_a_failing_converter(workshop, how):
    workshop.set(FAKE_CONVERTER=how)
    with pytest.raises(ConversionError) as caught:
        artifact(workshop)
    if how == "fail":
        assert "ended with code 3" in caught.value.found
        assert "line 39 of its complaint" in caught.value.found
        assert "line 2 of its complaint" not in caught.value.found
    else:
        assert "ended with code -9" in caught.value.found
    log = Path(caught.value.remedy.rpartition(" ")[2])
    assert "decoder layer 0" in log.read_text()
    assert not list((workshop.cache / "artifacts").iterdir())
    workshop.set(FAKE_CONVERTER="ok")
    assert artifact(workshop).model.is_dir()


def test_ctrl_c_ends_the_converter_and_leaves_nothing(workshop):
    workshop.set(FAKE_CONVERTER="hang")
    marker = workshop.folder / "hanging"

    def interrupt(doing, share):
        if marker.exists() and marker.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifact(workshop, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)
    assert not list((workshop.cache / "artifacts").iterdir())
    workshop.set(FAKE_CONVERTER="ok")
    assert artifact(workshop).model.is_dir()
    assert not hidden(workshop.cache)


def test_progress_only_grows(workshop):
    seen = []
    artifact(workshop, lambda doing, share: seen.append((doing, share)))
    converting = [share for doing, share in seen if doing == "converting to onnx int4"]
    assert converting == sorted(converting)
    assert (converting[0], converting[-1]) == (0.0, 1.0)
    assert all(0 <= share <= 1 for _, share in seen)


def test_missing_libraries_are_named_with_the_command(workshop, monkeypatch):
    needed = {"no_such_a": "builder[onnx]", "no_such_b": "builder[convert]", "no_such_c": "builder[convert]"}
    monkeypatch.setattr(onnx, "REQUIREMENTS", needed)
    with pytest.raises(ConversionError) as caught:
        artifact(workshop)
    assert "needs builder[convert], builder[onnx]" in caught.value.found
    assert caught.value.remedy == "pip install 'builder[convert]' 'builder[onnx]'"
    assert not workshop.cache.exists()


def test_a_checkpoint_without_a_fast_tokenizer(workshop):
    from builder.errors import SourceError

    (workshop.checkpoint / "tokenizer.json").unlink()
    with pytest.raises((ConversionError, SourceError), match="tokenizer"):
        artifact(workshop)
    assert not hidden(workshop.cache) if workshop.cache.exists() else True


def test_a_full_disk(workshop, disk):
    workshop.use_cache(disk("small"))
    workshop.set(FAKE_BYTES=str(8 << 20))
    with pytest.raises(ConversionError, match="free space on that disk, or point BUILDER_CACHE"):
        artifact(workshop)
    assert not hidden(workshop.cache)
    assert not list((workshop.cache / "artifacts").iterdir())
    workshop.set(FAKE_BYTES="64")
    assert artifact(workshop).model.is_dir()


def test_a_disk_that_was_full_before(workshop, disk):
    workshop.use_cache(disk("small"))
    rest = workshop.cache / "somebody else's"
    with pytest.raises(OSError, match="No space"), rest.open("wb") as stream:
        stream.write(bytes(2 << 20))
    with pytest.raises(ConversionError, match="free space on that disk"):
        artifact(workshop)
    assert not hidden(workshop.cache)
    rest.unlink()
    assert artifact(workshop).model.is_dir()


def test_a_read_only_disk(workshop, disk):
    folder = disk("small")
    workshop.use_cache(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(ConversionError, match="read-only: choose another folder"):
        artifact(workshop)


def test_a_file_where_the_cache_should_be(workshop):
    workshop.cache.write_text("in the way")
    with pytest.raises(ConversionError, match="to mend it"):
        artifact(workshop)
    assert workshop.cache.read_text() == "in the way"


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_stages_of_ended_processes_are_swept(tmp_path):
    final = tmp_path / "made"
    left = [tmp_path / f".made.{number}" for number in (ended_process(), os.getpid())]
    living, other = tmp_path / ".made.1", tmp_path / f".unmade.{ended_process()}"
    for folder in (*left, living, other):
        (folder / "half").mkdir(parents=True)
    with files.staged(final) as stage:
        (stage / "file").write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([living, other, final])


def test_a_stage_that_another_process_overtook(tmp_path):
    final = tmp_path / "made"
    with files.staged(final) as stage:
        (stage / "file").write_text("second")
        final.mkdir()
        (final / "file").write_text("first")
    assert tree(tmp_path) == {"made": None, "made/file": b"first"}


def test_names_with_wildcards_are_swept_literally(tmp_path):
    kept = tmp_path / f".mad.{ended_process()}"
    kept.mkdir()
    with files.staged(tmp_path / "ma[d]"):
        pass
    assert kept.is_dir()


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EXDEV, errno.EIO]
)
def test_every_os_error_gets_a_remedy(number):
    with pytest.raises(ConversionError) as caught, files.translated(ConversionError, "doing this"):
        raise OSError(number, os.strerror(number), "some/file")
    assert caught.value.found == f"doing this: {os.strerror(number)} (some/file)"
    assert caught.value.remedy


def test_placing_links_and_across_disks_copies(tmp_path, disk):
    folder = tmp_path / "from"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("content")
    files.place(folder, tmp_path / "near")
    far = disk("far") / "there"
    files.place(folder, far)
    assert tree(folder) == tree(tmp_path / "near") == tree(far)
    assert (folder / "deep" / "file").samefile(tmp_path / "near" / "deep" / "file")


def test_json_has_one_form(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, "é"], "a": None})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n "a": null,\n "b": [\n  1,\n  "é"\n ]\n}\n'
    assert files.dump(json.loads(text)) == text


def test_a_child_that_cannot_start_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        child.run([str(tmp_path / "absent")], tmp_path / "log", ConversionError)


def test_a_child_sees_no_terminal_and_its_environment(tmp_path):
    log = tmp_path / "deep" / "log"
    script = "import os, sys; print(repr(sys.stdin.read()), os.environ['GIVEN'])"
    child.run([sys.executable, "-c", script], log, ConversionError, environment={"GIVEN": "it"})
    assert log.read_text() == "'' it\n"


def job(folder, **changes):
    values = {
        "checkpoint": folder / "in", "exporter": "", "pipeline": "text_generation", "main": "",
        "quantization": "int4", "arguments": (), "device": "cpu", "accelerators": (), "runtime": "",
        "image": (0, 0, 0), "settings": {}, "out": folder / "stage" / "model",
    }  # fmt: skip
    return Job(**{**values, **changes})


def test_the_real_command(tmp_path):
    line = onnx.convert(job(tmp_path, arguments=("a=b", "c=d")))
    assert line[1:3] == ["-m", "onnxruntime_genai.models.builder"]
    given = dict(zip(line[3:13:2], line[4:13:2], strict=True))
    assert given == {
        "--input": str(tmp_path / "in"),
        "--output": str(tmp_path / "stage" / "model"),
        "--precision": "int4",
        "--execution_provider": "cpu",
        "--cache_dir": str(tmp_path / "stage" / "scratch"),
    }
    assert line[13:] == ["--extra_options", "a=b", "c=d"]
    assert "--extra_options" not in onnx.convert(job(tmp_path, quantization="fp32", device="gpu"))


def test_unknown_things_are_misuse(workshop):
    with pytest.raises(UsageError):
        artifact(workshop, quantize="int3")
    assert not workshop.runs()


def test_digests_are_never_half_written(workshop, disk):
    workshop.use_cache(disk("small"))
    (workshop.cache / "rest").write_bytes(bytes((1 << 20) - 8192))
    found = source.open_checkpoint(str(workshop.checkpoint))
    (workshop.cache / "digests.json").write_text(json.dumps({"x" * 3000: "y"}))
    with pytest.raises(OSError, match="No space"):
        for number in range(100):
            config = workshop.checkpoint / "config.json"
            os.utime(config, ns=(number, number))
            source.digest(found)
    assert not list(workshop.cache.glob(".digests-*"))
    assert json.loads((workshop.cache / "digests.json").read_text())["x" * 3000] == "y"
