"""Graphs of models that answer in one pass: what decides their bytes, and what their models are told."""

import json
import sys
from pathlib import Path

import pytest
from tiny import hidden
from tiny_encoder import PIPELINES, EncoderWorkshop

from builder import convert, subjects
from builder.errors import ConversionError
from builder.plan import Options, plan
from builder.target import Job
from builder.targets import onnxruntime, tensorrt

SILENT = lambda doing, share: None  # noqa: E731


def planned(workshop, **options):
    subject, found = subjects.read("tiny", str(workshop.checkpoint), None)
    return plan(subject, Options(**options)), found


def artifact(workshop, progress=SILENT, **options):
    return convert.convert(*planned(workshop, **options), progress)


@pytest.fixture(params=PIPELINES)
def each(request, tmp_path, monkeypatch):
    return EncoderWorkshop(tmp_path, monkeypatch, request.param)


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    return EncoderWorkshop(tmp_path, monkeypatch, "classification")


def test_the_artifact_holds_one_graph_and_the_tokenizer_of_texts(each):
    found = artifact(each)
    assert [path.name for path in found.model.iterdir()] == ["model.onnx"]
    tokenizes = each.pipeline not in ("image_classification", "tensors")
    kept = {"tokenizer.json", "tokenizer_config.json"} if tokenizes else set()
    assert {path.name for path in found.tokenizer.iterdir()} == kept
    assert set(found.digests) == {"model/model.onnx", *(f"tokenizer/{name}" for name in kept)}
    assert artifact(each) == found
    assert each.runs() == 1


def test_the_settings_name_what_the_models_need_and_no_more(each):
    found = artifact(each)
    members = {name for model in planned(each)[0].models for name in model.member.settings}
    # the exporter and the proof want these of every model
    assert set(found.settings) == members | {"labels", "max_tokens"}
    assert found.config["model_type"] == {"tensors": "onnx", "image_classification": "vit"}.get(
        each.pipeline, "bert"
    )


def test_the_settings_of_a_text(classifier):
    told = artifact(classifier, max_context=9).settings
    assert told == {
        "max_tokens": 9,
        "truncate": False,
        "pad_id": 1,
        "lower_case": False,
        "labels": ["bad", "good"],
    }


def test_an_image_without_its_preparation_is_refused(tmp_path, monkeypatch):
    workshop = EncoderWorkshop(tmp_path, monkeypatch, "image_classification")
    (workshop.checkpoint / "preprocessor_config.json").unlink()
    with pytest.raises(ConversionError, match=r"holds no preprocessor_config\.json") as caught:
        artifact(workshop)
    assert caught.value.remedy
    assert not workshop.runs()


TENSORRT = {"gpu": "h200", "accelerate": "tensorrt"}


def test_everything_that_decides_its_bytes_decides_its_key(classifier):
    keys = [
        artifact(classifier, **options).key
        for options in ({}, {"quantize": "int8"}, {"max_context": 9}, {"gpu": "h200"}, TENSORRT)
    ]
    classifier.remake(labels=["no", "yes"])
    keys.append(artifact(classifier).key)
    assert len(set(keys)) == len(keys) == classifier.runs()


def test_what_does_not_decide_its_bytes_does_not(classifier):
    assert artifact(classifier).key == artifact(classifier, concurrency=3, accelerate="openvino").key
    assert classifier.runs() == 1


def test_a_failing_exporter(each):
    each.set(FAKE_CONVERTER="fail")
    with pytest.raises(ConversionError, match="it does not export this") as caught:
        artifact(each)
    assert "exported 1/2" in Path(caught.value.remedy.rpartition(" ")[2]).read_text()
    assert not list((each.cache / "artifacts").iterdir())
    assert not hidden(each.cache)
    each.set(FAKE_CONVERTER="ok")
    assert artifact(each).model.is_dir()


def test_an_exporter_that_writes_nothing(classifier, monkeypatch):
    def nothing(job):
        job.out.mkdir()
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(onnxruntime, "convert", nothing)
    with pytest.raises(ConversionError, match="wrote nothing") as caught:
        artifact(classifier)
    assert "log" in caught.value.remedy
    assert not list((classifier.cache / "artifacts").iterdir())


def test_progress_only_grows(classifier):
    seen = []
    artifact(classifier, lambda doing, share: seen.append((doing, share)))
    shares = [share for doing, share in seen if doing == "converting to onnxruntime fp32"]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("log", "share"),
    [("", 0.0), ("exported 0/4", 0.0), ("exported 1/4\nexported 2/4\n", 0.5), ("exported 4/4", 0.99)],
)
def test_the_share_that_an_exporter_has_done(log, share):
    assert onnxruntime.progress(log, None) == share


def test_missing_libraries_are_named_with_the_command(classifier, monkeypatch):
    monkeypatch.setattr(onnxruntime, "REQUIREMENTS", {"no_such_a": "builder[encoders]"})
    with pytest.raises(ConversionError) as caught:
        artifact(classifier)
    assert caught.value.remedy == "pip install 'builder[encoders]'"
    assert not classifier.cache.exists()


@pytest.mark.parametrize(
    ("target", "device", "accelerators", "fused", "strings"),
    [
        (onnxruntime, "gpu", (), True, True),
        (onnxruntime, "gpu", ("cuda",), True, True),
        (onnxruntime, "gpu", ("tensorrt", "cuda"), False, True),
        (onnxruntime, "cpu", (), False, True),
        (tensorrt, "gpu", (), False, False),
    ],
)
def test_what_an_exporter_is_asked(tmp_path, target, device, accelerators, fused, strings):
    line = target.convert(
        Job(
            checkpoint=tmp_path / "in",
            exporter="text_encoder",
            pipeline="classification",
            main="scores",
            quantization="fp16",
            arguments=(),
            device=device,
            accelerators=accelerators,
            runtime="1.19.2",
            image=(3, 2, 1),
            settings={"max_tokens": 12, "labels": ["a", "b"]},
            out=tmp_path / "stage" / "model",
        )
    )
    assert line[:3] == [sys.executable, "-m", "builder.exporting.text_encoder"]
    asked = json.loads(Path(line[3]).read_text())
    assert (tmp_path / "stage" / "model").is_dir()
    assert asked == {
        "source": str(tmp_path / "in"), "pipeline": "classification", "precision": "fp16", "most": 12,
        "labels": ["a", "b"], "output": "scores", "image": [3, 2, 1], "device": device, "fused": fused,
        "strings": strings, "onnxruntime": "1.19.2", "out": str(tmp_path / "stage" / "model"),
    }  # fmt: skip
