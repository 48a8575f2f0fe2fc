"""Publication of models that answer in one pass: whole, servable at every moment, version after version."""

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tiny import hidden, tree
from tiny_encoder import LABELS, PIPELINES, EncoderWorkshop
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder.check import check
from builder.cli import main
from builder.errors import ProofError, RepositoryError

PARTS = {
    "embedding": ["tiny_tokenizer", "tiny_encoder"],
    "classification": ["tiny_tokenizer", "tiny_encoder"],
    "token_classification": ["tiny_tokenizer", "tiny_encoder", "tiny_entities"],
    "reranking": ["tiny_tokenizer", "tiny_encoder", "tiny_scores"],
    "image_classification": ["tiny_image", "tiny_encoder"],
    "tensors": [],
}
"""Pipeline -> what is published before the front, in this order."""
TEXTS = ("embedding", "classification", "token_classification", "reranking")


@pytest.fixture(params=PIPELINES)
def each(request, tmp_path, monkeypatch):
    return EncoderWorkshop(tmp_path, monkeypatch, request.param)


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    return EncoderWorkshop(tmp_path, monkeypatch, "classification")


def names(workshop):
    """Return the models of a deployment, parts first."""
    return [*PARTS[workshop.pipeline], "tiny"]


def versions(folder):
    """Return model -> its versions."""
    return {
        path.name: sorted(int(one.name) for one in path.iterdir() if one.is_dir())
        for path in sorted(folder.iterdir())
    }


def files(folder):
    """Return what lies in a version folder, the copied code left out."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("backends")}


def require_servable(folder):
    """Every model is whole, and every ensemble finds its parts."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    for name in names:
        config = text_format.Parse((folder / name / "config.pbtxt").read_text(), ModelConfig())
        assert config.name == name
        assert {step.model_name for step in config.ensemble_scheduling.step} <= names
        labelled = {one.label_filename for one in config.output} - {""}
        assert all((folder / name / file).is_file() for file in labelled)
        numbers = [path for path in (folder / name).iterdir() if path.is_dir()]
        assert numbers
        for version in numbers:
            needed = {"onnxruntime": {"model.onnx"}, "python": {"model.py", "settings.json"}, "": set()}
            front = {"golden.json", "manifest.json", "build.json"} if name == "tiny" else set()
            assert files(version) >= needed[config.backend] | front
    if names:
        assert not check(folder)


def test_the_first_publication(each):
    built = each.build()
    assert (built.published.version, built.published.fresh, built.report) == (1, True, None)
    assert versions(each.output) == {name: [1] for name in names(each)}
    require_servable(each.output)
    assert not hidden(each.output.parent)


def test_what_each_version_folder_holds(each):
    each.build()
    held = {name: files(each.output / name / "1") for name in versions(each.output)}
    front = {"golden.json", "manifest.json", "build.json"}
    graph = {"model.onnx"}
    code = {"model.py", "settings.json"}
    tokenizer = code | {"tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"}
    parts = {"tiny_encoder": graph, "tiny_tokenizer": tokenizer}
    parts |= dict.fromkeys(("tiny_entities", "tiny_image", "tiny_scores"), code)
    expected = {name: parts[name] for name in PARTS[each.pipeline]}
    assert held == {**expected, "tiny": front if expected else front | graph}


def test_what_the_models_are_told(each):
    each.build()
    told = {
        path.parent.parent.name: json.loads(path.read_text())
        for path in each.output.glob("*/*/settings.json")
    }
    tokenizer = {"max_tokens": 24, "truncate": False, "pad_id": 1, "lower_case": False}
    preprocessor = (
        json.loads((each.checkpoint / "preprocessor_config.json").read_text())
        # the checkpoint names no class, its family has one
        | {"image_processor_type": "ViTImageProcessor"}
        if (each.pipeline == "image_classification")
        else {}
    )
    parts = {
        "tiny_tokenizer": tokenizer,
        "tiny_entities": {"labels": ["O", "B-PER", "I-PER"], "strategy": "simple"},
        "tiny_image": {"preprocessor": preprocessor},
        "tiny_scores": {**tokenizer, "labels": []},
    }
    assert told == {name: parts[name] for name in PARTS[each.pipeline] if name != "tiny_encoder"}


def test_the_exporter_is_asked_for_what_was_planned(classifier):
    classifier.build(max_context=9)
    import onnx

    graph = onnx.load(classifier.output / "tiny_encoder" / "1" / "model.onnx").graph
    assert json.loads(graph.doc_string) == {"precision": "fp32", "most": 9, "output": "scores"}
    (labels,) = [one for one in graph.initializer if one.name == "labels"]
    assert list(labels.string_data) == [b"bad", b"good"]


def test_labels_stand_beside_labelled_outputs_one_in_a_line(each):
    each.build()
    found = {path.parent.name: path.read_text() for path in each.output.glob("*/labels.txt")}
    if each.pipeline not in ("classification", "image_classification"):
        assert not found
        return
    expected = "".join(f"{label}\n" for label in LABELS[each.pipeline])
    assert found == {"tiny": expected, "tiny_encoder": expected}


def test_the_same_build_again_changes_nothing(each):
    each.build()
    before = tree(each.output)
    again = each.build()
    assert (again.published.version, again.published.fresh) == (1, False)
    assert tree(each.output) == before
    assert not hidden(each.output.parent)
    assert (each.runs("convert"), each.runs("parity")) == (1, 1)


@pytest.mark.slow
def test_another_checkpoint_makes_the_next_version_of_every_model(each):
    each.build()
    before = tree(each.output)
    each.remake(seed=1)
    built = each.build()
    assert (built.published.version, built.published.fresh) == (2, True)
    after = tree(each.output)
    assert {name: after[name] for name in before} == before
    assert versions(each.output) == {name: [1, 2] for name in names(each)}
    require_servable(each.output)
    assert not each.build().published.fresh


@pytest.mark.parametrize("change", [{"max_context": 7}, {"quantize": "int8"}])
def test_other_settings_make_the_next_version(classifier, change):
    classifier.build()
    before = tree(classifier.output)
    built = classifier.build(**change)
    assert (built.published.version, built.published.fresh) == (2, True)
    after = tree(classifier.output)
    assert {name: after[name] for name in before} == before
    assert versions(classifier.output) == {name: [1, 2] for name in names(classifier)}
    require_servable(classifier.output)
    # to be served, an old build must be the latest again
    assert classifier.build().published.version == 3


def test_the_command_says_that_it_is_this_very_build(classifier):
    words = ["build", "tiny", "--checkpoint", str(classifier.checkpoint), "--no-verify"]
    words += ["--output", str(classifier.output)]
    first, second = (CliRunner().invoke(main, words) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"published {classifier.output}/tiny version 1, not verified" in first.stdout
    assert "furthest from the source" in first.stdout
    assert f"{classifier.output}/tiny version 1 is this very build already" in second.stdout


def test_the_manifest_repeats_byte_for_byte_and_names_no_machine(each):
    manifests = []
    for place in ("one", "two"):
        each.use_cache(each.folder / f"cache-{place}")
        each.build(each.folder / place / "repository")
        manifests.append((each.folder / place / "repository" / "tiny" / "1" / "manifest.json").read_text())
    assert manifests[0] == manifests[1]
    plain = json.loads(manifests[0])
    assert plain["plan"]["kind"] == "single_pass"
    assert plain["artifact"]["sha256"].keys() >= {"model/model.onnx"}
    assert plain["evidence"]["cases"] == 1
    assert str(each.folder) not in manifests[0]
    assert str(Path.home()) not in manifests[0]


def test_golden_answers_travel_with_the_front(each):
    built = each.build()
    golden = json.loads((each.output / "tiny" / "1" / "golden.json").read_text())
    batched = "tiny_encoder" if PARTS[each.pipeline] else "tiny"
    assert (golden["kind"], golden["pipeline"], golden["model"]) == ("single_pass", each.pipeline, "tiny")
    assert (golden["batched"], golden["max_batch_size"]) == (batched, 64)
    assert golden["tolerance"] == {"cosine": 0.9999, "error": 0.001}
    assert built.evidence.golden.read_text() == (each.output / "tiny" / "1" / "golden.json").read_text()


@pytest.mark.parametrize(
    ("options", "changed"),
    [({"concurrency": 3}, "tiny_tokenizer"), ({"accelerate": "openvino"}, "tiny_encoder")],
)
def test_what_triton_applies_to_all_versions_is_refused_with_the_remedy(classifier, options, changed):
    classifier.build()
    before = tree(classifier.output)
    with pytest.raises(RepositoryError, match=rf"{changed}/config\.pbtxt is not what this build") as caught:
        classifier.build(**options)
    assert "--name" in caught.value.remedy
    assert tree(classifier.output) == before
    assert classifier.build(served_name="other", **options).published.fresh
    assert not check(classifier.output)


def test_other_labels_are_refused_with_the_remedy(classifier):
    classifier.build()
    before = tree(classifier.output)
    classifier.remake(labels=["good", "bad"])
    with pytest.raises(RepositoryError, match=r"labels\.txt is not what this build would write") as caught:
        classifier.build()
    assert "--name" in caught.value.remedy
    assert tree(classifier.output) == before


@pytest.mark.parametrize("pipeline", TEXTS)
def test_a_changed_tokenizer_is_refused_with_the_remedy(tmp_path, monkeypatch, pipeline):
    workshop = EncoderWorkshop(tmp_path, monkeypatch, pipeline)
    workshop.build()
    before = tree(workshop.output)
    workshop.remake(words="three four")
    with pytest.raises(RepositoryError, match="another tokenizer") as caught:
        workshop.build()
    assert "--name" in caught.value.remedy
    assert tree(workshop.output) == before


@pytest.mark.parametrize("lost", ["tiny_encoder/1/model.onnx", "tiny_tokenizer/1/tokenizer/tokenizer.json"])
def test_what_a_clone_lacks_comes_back(classifier, lost):
    """Git ignores what is large; the same build completes the version instead of making another."""
    classifier.build()
    before = tree(classifier.output)
    (classifier.output / lost).unlink()
    built = classifier.build()
    assert (built.published.version, built.published.fresh) == (1, False)
    after = tree(classifier.output)
    assert after.pop("tiny/1/build.json") and before.pop("tiny/1/build.json")
    assert after == before


def test_an_artifact_far_from_its_source_is_not_published(each):
    each.set(FAKE_PROOF="far")
    with pytest.raises(ProofError, match=r"cosine 0\.5000000, at least 0\.9999; error 5\.00e-01") as caught:
        each.build()
    assert "worst input: 'one' (3 together, with padding)" in caught.value.found
    assert not each.output.exists()
    assert not hidden(each.folder)


def test_a_proof_that_does_not_run_is_told_and_tried_again(classifier):
    classifier.set(FAKE_PROOF="parity fails")
    with pytest.raises(ProofError, match="the parity did not run") as caught:
        classifier.build()
    assert "read its whole log at" in caught.value.remedy
    assert not hidden(classifier.folder)
    classifier.set(FAKE_PROOF="ok")
    assert classifier.build().published.fresh
    assert classifier.runs("convert") == 1


def test_a_proof_speaks_of_one_name(classifier):
    golden = [classifier.build(served_name=name).evidence.golden for name in ("one", "two")]
    assert [json.loads(file.read_text())["batched"] for file in golden] == ["one_encoder", "two_encoder"]
    assert classifier.runs("convert") == 1


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


def test_parts_come_first_and_the_front_last(each, monkeypatch):
    expected = names(each)
    first = Renames(monkeypatch, each.output)
    each.build()
    assert first.seen == expected
    monkeypatch.setattr(Path, "rename", first.real)
    each.remake(seed=1)
    second = Renames(monkeypatch, each.output)
    each.build()
    assert second.seen == [f"{name}/2" for name in expected]


@pytest.mark.slow
@pytest.mark.parametrize("fail_at", range(4))
@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
def test_a_publication_that_breaks_off(tmp_path, monkeypatch, fail_at, again):
    workshop = EncoderWorkshop(tmp_path, monkeypatch, "token_classification")
    if again:
        workshop.build()
        workshop.remake(seed=1)
    before = tree(workshop.output) if again else {}
    renames = Renames(monkeypatch, workshop.output, fail_at)
    with pytest.raises(RepositoryError, match="Input/output error"):
        workshop.build()
    assert len(renames.seen) == fail_at
    require_servable(workshop.output)
    after = tree(workshop.output)
    assert {name: after[name] for name in before} == before
    assert not hidden(workshop.output.parent)
    monkeypatch.setattr(Path, "rename", renames.real)
    assert workshop.build().published.fresh
    require_servable(workshop.output)
    assert not workshop.build().published.fresh
