"""Publication: whole, servable at every moment, and never over what is there."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format
from tiny import checkpoint, hidden, tree
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder import pipeline, publishing, repository
from builder.check import check
from builder.errors import ConversionError, RepositoryError, VerifyError
from builder.plan import Options, plan
from builder.report import Comparison, Report
from builder.subjects import read

MODELS = ["tiny", "tiny_detokenizer", "tiny_ensemble", "tiny_tokenizer"]


def versions(folder):
    """Return model -> its versions."""
    return {
        path.name: sorted(int(one.name) for one in path.iterdir() if one.is_dir())
        for path in sorted(folder.iterdir())
    }


def require_servable(folder):
    """Every model is whole, and every ensemble finds its parts."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    for name in names:
        config = text_format.Parse((folder / name / "config.pbtxt").read_text(), ModelConfig())
        assert config.name == name
        assert {step.model_name for step in config.ensemble_scheduling.step} <= names
        numbers = [path for path in (folder / name).iterdir() if path.is_dir()]
        assert numbers
        for version in numbers:
            if config.platform == "ensemble":
                assert (version / ".keep").is_file()
                continue
            assert (version / "model.py").is_file()
            assert (version / "settings.json").is_file()
            assert (version / "tokenizer" / "tokenizer.json").is_file()
            if name == "tiny":
                assert (version / "model" / "model.onnx.data").is_file()
                assert (version / "golden.json").is_file()
                assert (version / "build.json").is_file()
    if names:
        assert not check(folder)


def test_the_first_publication(workshop):
    built = workshop.build()
    assert (built.published.version, built.published.fresh, built.report) == (1, True, None)
    assert versions(workshop.output) == {name: [1] for name in MODELS}
    require_servable(workshop.output)
    assert not hidden(workshop.output.parent)


def test_what_the_version_folder_of_the_front_says(workshop):
    workshop.build(max_context=512, concurrency=3)
    settings = json.loads((workshop.output / "tiny" / "1" / "settings.json").read_text())
    assert settings == {
        "engine": "onnxruntime",
        "engine_arguments": {"provider": "cpu", "threads": 0},
        "model": "model",
        "context_length": 512,
        "max_active": 3,
        "max_waiting": 128,
        "default_deadline_seconds": 600,
        "end_ids": [2],
        "bos_id": 1,
        "pad_id": 2,
        "reasoning": None,
    }
    for part in ("tiny_tokenizer", "tiny_detokenizer"):
        ids = json.loads((workshop.output / part / "1" / "settings.json").read_text())
        assert ids == {"end_ids": [2], "bos_id": 1, "pad_id": 2}


def test_the_same_build_again_changes_nothing(workshop):
    workshop.build()
    before = tree(workshop.output)
    again = workshop.build()
    assert (again.published.version, again.published.fresh) == (1, False)
    assert tree(workshop.output) == before
    assert not hidden(workshop.output.parent)


def test_two_builds_of_the_same_at_once_are_one_version(workshop, monkeypatch, tmp_path):
    look, other = publishing.published, tmp_path / "other" / "repository"

    def while_another_publishes(*arguments):
        found = look(*arguments)
        shutil.copytree(other, workshop.output, dirs_exist_ok=True)
        return found

    assert workshop.build(other).published.version == 1
    with monkeypatch.context() as patches:
        patches.setattr(publishing, "published", while_another_publishes)
        published = workshop.build().published
        assert (published.version, published.fresh) == (1, False)
    # of other settings there is no telling which are wanted
    assert workshop.build(other, concurrency=3).published.version == 2
    monkeypatch.setattr(publishing, "published", while_another_publishes)
    with pytest.raises(RepositoryError, match="another build published version 2 of tiny meanwhile"):
        workshop.build(concurrency=4)


def test_a_build_after_being_served_is_still_the_same(workshop):
    """Triton's stub leaves compiled files in the version folders."""
    workshop.build()
    litter = workshop.output / "tiny" / "1" / "backends" / "__pycache__" / "x.pyc"
    litter.parent.mkdir()
    litter.write_bytes(b"compiled")
    assert not workshop.build().published.fresh


@pytest.mark.parametrize(
    "change", [{"concurrency": 2}, {"quantize": "fp32"}, {"concurrency": 3, "quantize": "int8"}]
)
def test_other_settings_make_the_next_version(workshop, change):
    workshop.build()
    before = tree(workshop.output)
    built = workshop.build(**change)
    assert (built.published.version, built.published.fresh) == (2, True)
    after = tree(workshop.output)
    assert {name: after[name] for name in before} == before
    assert versions(workshop.output) == {name: [1] if name == "tiny_ensemble" else [1, 2] for name in MODELS}
    require_servable(workshop.output)


def test_going_back_makes_a_third_version(workshop):
    """Triton serves the latest: to be served, an old build must be the latest again."""
    workshop.build()
    workshop.build(concurrency=2)
    assert workshop.build().published.version == 3


def test_two_names_share_a_repository(workshop):
    workshop.build()
    before = tree(workshop.output)
    workshop.build(served_name="other")
    after = tree(workshop.output)
    assert {name: after[name] for name in before} == before
    assert len(versions(workshop.output)) == 8
    assert not check(workshop.output)


def test_the_manifest_repeats_byte_for_byte_and_names_no_machine(workshop):
    manifests = []
    for place in ("one", "two"):
        workshop.use_cache(workshop.folder / f"cache-{place}")
        workshop.build(workshop.folder / place / "repository")
        manifests.append(
            (workshop.folder / place / "repository" / "tiny" / "1" / "manifest.json").read_text()
        )
    assert manifests[0] == manifests[1]
    plain = json.loads(manifests[0])
    assert plain["artifact"]["sha256"]
    assert plain["plan"]["memory"]["context"] == 4096
    assert plain["source"]["origin"] == plain["plan"]["origin"] == "checkpoint"
    assert str(workshop.folder) not in manifests[0]
    assert str(Path.home()) not in manifests[0]


def test_a_changed_config_is_refused_with_the_remedy(workshop):
    workshop.build()
    config = workshop.output / "tiny" / "config.pbtxt"
    config.write_text(config.read_text() + "# mine\n")
    before = tree(workshop.output)
    with pytest.raises(RepositoryError, match="is not what this build would write") as caught:
        workshop.build(concurrency=2)
    assert "--name" in caught.value.remedy
    assert tree(workshop.output) == before
    assert workshop.build(served_name="other").published.fresh


def test_a_changed_tokenizer_is_refused_with_the_remedy(workshop):
    workshop.build()
    before = tree(workshop.output)
    workshop.checkpoint = checkpoint(workshop.folder / "second", words="five six seven eight")
    with pytest.raises(RepositoryError, match="another tokenizer") as caught:
        workshop.build()
    assert "--name" in caught.value.remedy
    assert tree(workshop.output) == before


class Renames:
    """Watches the renames of a publication, and makes the one of a number fail."""

    def __init__(self, monkeypatch, output, fail_at=None):
        self.output, self.fail_at, self.seen = output.resolve(), fail_at, []
        self.real = Path.rename
        monkeypatch.setattr(Path, "rename", lambda source, target: self.rename(source, Path(target)))

    def rename(self, source, target):
        if self.output not in target.parents or target.name.startswith("."):
            return self.real(source, target)
        require_servable(self.output)
        if len(self.seen) == self.fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        self.seen.append(str(target.relative_to(self.output)))
        moved = self.real(source, target)
        require_servable(self.output)
        return moved


def test_parts_come_first_and_users_last(workshop, monkeypatch):
    first = Renames(monkeypatch, workshop.output)
    workshop.build()
    assert first.seen == ["tiny_tokenizer", "tiny_detokenizer", "tiny", "tiny_ensemble"]
    monkeypatch.setattr(Path, "rename", first.real)
    second = Renames(monkeypatch, workshop.output)
    workshop.build(concurrency=2)
    assert second.seen == ["tiny_tokenizer/2", "tiny_detokenizer/2", "tiny/2"]


@pytest.mark.parametrize("fail_at", range(4))
def test_a_first_publication_that_breaks_off(workshop, monkeypatch, fail_at):
    renames = Renames(monkeypatch, workshop.output, fail_at)
    with pytest.raises(RepositoryError, match="Input/output error"):
        workshop.build()
    assert len(renames.seen) == fail_at
    require_servable(workshop.output)
    assert not hidden(workshop.output.parent)
    monkeypatch.setattr(Path, "rename", renames.real)
    assert workshop.build().published.fresh
    require_servable(workshop.output)
    assert not workshop.build().published.fresh


@pytest.mark.parametrize("fail_at", range(3))
def test_a_second_publication_that_breaks_off(workshop, monkeypatch, fail_at):
    workshop.build()
    before = tree(workshop.output)
    renames = Renames(monkeypatch, workshop.output, fail_at)
    with pytest.raises(RepositoryError, match="Input/output error"):
        workshop.build(concurrency=2)
    after = tree(workshop.output)
    assert {name: after[name] for name in before} == before
    assert versions(workshop.output)["tiny"] == [1]
    require_servable(workshop.output)
    monkeypatch.setattr(Path, "rename", renames.real)
    built = workshop.build(concurrency=2)
    assert (built.published.fresh, built.published.version) == (True, 3 if fail_at else 2)
    require_servable(workshop.output)


def stages(workshop):
    """Return what a whole build says that it does, each once."""
    seen = []
    workshop.build(
        workshop.folder / "elsewhere" / "repository", progress=lambda doing, share: seen.append(doing)
    )
    return list(dict.fromkeys(seen))


def test_ctrl_c_at_every_stage_leaves_the_previous_repository(workshop):
    doings = stages(workshop)
    assert len(doings) >= 4
    workshop.build(concurrency=2)
    before = tree(workshop.output)
    for number, stage in enumerate(doings):
        workshop.use_cache(workshop.folder / f"cache-{number}")

        def interrupt(doing, share, stage=stage):
            if doing == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            workshop.build(progress=interrupt)
        assert tree(workshop.output) == before, stage
        assert not hidden(workshop.folder), stage
    assert workshop.build().published.version == 2


def verification(monkeypatch, run):
    monkeypatch.setattr(pipeline.verifying, "run", run)


def test_ctrl_c_while_verifying(workshop, monkeypatch):
    workshop.build(concurrency=2)
    before = tree(workshop.output)

    def interrupted(stage, **arguments):
        require_staged_alike(stage)
        raise KeyboardInterrupt

    verification(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        workshop.build(verifying=True)
    assert tree(workshop.output) == before
    assert not hidden(workshop.folder)


def require_staged_alike(stage):
    assert sorted(path.name for path in stage.iterdir() if path.is_dir()) == MODELS


def report(passed):
    row = Comparison("golden ids", "golden", "tiny", "Answers are golden.", passed, "saw 3 for 4", 0.1)
    return Report((row,), 0.1)


def test_what_fails_its_verification_is_not_published(workshop, monkeypatch):
    verification(monkeypatch, lambda stage, **arguments: report(False))
    with pytest.raises(VerifyError, match="golden ids: saw 3 for 4"):
        workshop.build(verifying=True)
    assert not workshop.output.exists()
    assert not hidden(workshop.folder)


def test_what_was_verified_is_written_down(workshop, monkeypatch):
    verification(monkeypatch, lambda stage, **arguments: report(True))
    built = workshop.build(verifying=True)
    record = json.loads((workshop.output / "tiny" / "1" / "build.json").read_text())
    assert built.report and record["verified"]
    assert set(record) == {"seconds", "finished", "verified"}


def test_the_output_is_a_file(workshop):
    workshop.output.parent.mkdir()
    workshop.output.write_text("mine")
    with pytest.raises(RepositoryError, match="is not a folder"):
        workshop.build()
    assert workshop.output.read_text() == "mine"
    assert not workshop.runs(), "it must be said before the work, not after"


def test_a_file_among_the_parents(workshop):
    workshop.output.parent.write_text("mine")
    with pytest.raises(RepositoryError, match="to mend it"):
        workshop.build()
    assert workshop.output.parent.read_text() == "mine"


def test_a_read_only_repository(workshop, disk):
    folder = disk("shelf")
    workshop.build(folder / "repository")
    before = tree(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(RepositoryError, match="read-only: choose another folder"):
        workshop.build(folder / "repository", concurrency=2)
    assert tree(folder) == before


def test_a_repository_on_a_full_disk(workshop, disk):
    folder = disk("shelf", "2m")
    workshop.build(folder / "repository")
    before = tree(folder)
    workshop.use_cache(workshop.folder / "other cache")
    workshop.set(FAKE_BYTES=str(4 << 20))
    with pytest.raises(RepositoryError, match="free space on that disk"):
        workshop.build(folder / "repository", concurrency=2)
    assert tree(folder) == before
    require_servable(folder / "repository")


def test_a_repository_that_is_a_mount_point(workshop, disk):
    """Nothing can be renamed into another disk: say so before the work of staging, with the way out."""
    folder = disk("volume")
    with pytest.raises(RepositoryError, match="choose a folder inside it"):
        workshop.build(folder)
    assert not tree(folder)
    assert workshop.build(folder / "repository").published.fresh


def test_a_repository_behind_a_link(workshop, disk):
    target = disk("volume") / "models"
    target.mkdir()
    link = workshop.folder / "repository"
    link.symlink_to(target)
    assert workshop.build(link).published.fresh
    require_servable(target)
    assert not hidden(workshop.folder)


def test_the_current_folder_as_repository(workshop, monkeypatch):
    folder = workshop.folder / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert workshop.build(Path()).published.fresh
    require_servable(folder)
    assert not hidden(workshop.folder)


def test_stages_of_killed_builds_are_swept(workshop):
    process = subprocess.Popen(["true"])
    process.wait()
    left = workshop.output.parent / f".repository.{process.pid}"
    (left / "tiny" / "1").mkdir(parents=True)
    workshop.build()
    assert not left.exists()


def test_a_build_that_was_overtaken(workshop):
    """Two builds at once: the one that publishes second must not take the first one's number."""
    built = workshop.build()
    subject, found = read("tiny", str(workshop.checkpoint), None)
    planned = plan(subject, Options(concurrency=2))
    with repository.staging(workshop.output) as stage:
        from builder.convert import convert

        artifact = convert(planned, found, lambda doing, share: None)
        repository.write(planned, found, artifact, built.evidence, stage, 1)
        with pytest.raises(RepositoryError, match="another build published version 1"):
            publishing.publish(planned, stage, workshop.output, 1)
    require_servable(workshop.output)


def test_strangers_in_the_repository_are_left_alone(workshop):
    stranger = workshop.output / "theirs" / "7"
    stranger.mkdir(parents=True)
    (stranger / "model.py").write_text("theirs")
    (workshop.output / "tiny").mkdir()
    with pytest.raises(RepositoryError, match=r"tiny/config\.pbtxt is not what this build would write"):
        workshop.build()
    (workshop.output / "tiny").rmdir()
    workshop.build()
    assert (stranger / "model.py").read_text() == "theirs"


def test_a_failing_converter_leaves_the_previous_repository(workshop):
    workshop.build()
    before = tree(workshop.output)
    workshop.set(FAKE_CONVERTER="fail")
    with pytest.raises(ConversionError):
        workshop.build(quantize="fp32")
    assert tree(workshop.output) == before
    assert not hidden(workshop.folder)
