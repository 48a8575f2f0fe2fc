"""A version that `builder build` wrote is the one that was proven, also where its front is an ensemble."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tiny_encoder import PIPELINES, EncoderWorkshop

from builder.check import Choice, check
from builder.finding import Finding
from builder.rule import Host

TEXTS = [name for name in PIPELINES if name not in ("image_classification", "tensors")]
HOST = Host("26.08", completes=False)


@pytest.fixture
def built(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderWorkshop:
    """The deployment `tiny` of a pipeline, published once."""
    workshop = EncoderWorkshop(tmp_path, monkeypatch, request.param)
    workshop.build()
    return workshop


def found(workshop: EncoderWorkshop) -> list[Finding]:
    return check(workshop.output, host=HOST, choice=Choice(("TRN63",)))


def change(file: Path) -> None:
    """Change the last byte; the file is the cache's too, by a hard link."""
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


@pytest.mark.parametrize("built", PIPELINES, indirect=True)
def test_every_file_of_the_artifact_is_looked_at(built: EncoderWorkshop) -> None:
    assert found(built) == []
    manifest = json.loads((built.output / "tiny" / "1" / "manifest.json").read_text())
    for name, digest in manifest["artifact"]["sha256"].items():
        inner = name.removeprefix("model/")
        (file,) = built.output.glob(f"*/1/{inner}")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
        before = file.read_bytes()
        change(file)
        (one,) = found(built)
        assert (one.code, one.severity) == ("TRN633", "error")
        assert one.path == str(file.relative_to(built.output))
        assert one.message.startswith(f"{file.parts[-len(Path(inner).parts) - 2]}/1: {inner} is not the file")
        file.write_bytes(before)
    assert found(built) == []


@pytest.mark.parametrize("built", PIPELINES, indirect=True)
def test_a_file_that_is_gone(built: EncoderWorkshop) -> None:
    (graph,) = built.output.glob("*/1/model.onnx")
    graph.unlink()
    (one,) = found(built)
    assert (one.code, one.path) == ("TRN633", str(graph.relative_to(built.output)))
    assert "model.onnx, which the manifest names, is not there" in one.message


@pytest.mark.parametrize("built", TEXTS, indirect=True)
def test_a_tokenizer_that_is_gone(built: EncoderWorkshop) -> None:
    shutil.rmtree(built.output / "tiny_tokenizer" / "1" / "tokenizer")
    codes = [(one.code, one.path) for one in found(built)]
    assert ("TRN631", "tiny_tokenizer/1") in codes
    assert ("TRN633", "tiny_tokenizer/1/tokenizer/tokenizer.json") in codes


@pytest.mark.parametrize("built", ["classification", "tensors"], indirect=True)
@pytest.mark.parametrize("text", ["{", "[]", '{"artifact": {"sha256": 1}}'])
def test_a_manifest_that_cannot_be_read(built: EncoderWorkshop, text: str) -> None:
    (built.output / "tiny" / "1" / "manifest.json").write_text(text)
    (one,) = found(built)
    assert (one.code, one.path) == ("TRN632", "tiny/1/manifest.json")


@pytest.mark.parametrize("built", ["embedding"], indirect=True)
def test_the_next_version_is_held_against_its_own_manifest(built: EncoderWorkshop) -> None:
    built.remake(seed=1)
    built.build()
    assert found(built) == []
    # version 1 is no longer served
    change(built.output / "tiny_encoder" / "1" / "model.onnx")
    assert found(built) == []
    change(built.output / "tiny_encoder" / "2" / "model.onnx")
    assert [one.path for one in found(built)] == ["tiny_encoder/2/model.onnx"]


@pytest.mark.parametrize("built", ["classification"], indirect=True)
def test_two_deployments_are_told_apart(built: EncoderWorkshop) -> None:
    built.build(served_name="other")
    change(built.output / "other_encoder" / "1" / "model.onnx")
    assert [one.path for one in found(built)] == ["other_encoder/1/model.onnx"]


@pytest.mark.parametrize("built", ["classification"], indirect=True)
def test_a_manifest_of_somebody_else_is_none_of_ours(built: EncoderWorkshop) -> None:
    (built.output / "tiny" / "1" / "golden.json").unlink()
    (built.output / "tiny" / "1" / "manifest.json").write_text("plain text")
    assert found(built) == []


@pytest.mark.parametrize("built", ["classification"], indirect=True)
@pytest.mark.parametrize(
    "name", ["model/../../../secret", "model//etc/hostname", "tokenizer/../../../secret"]
)
def test_a_manifest_names_nothing_outside(built: EncoderWorkshop, name: str) -> None:
    secret = built.output / "secret"
    secret.write_text("secret")
    manifest = {"artifact": {"sha256": {name: hashlib.sha256(b"secret").hexdigest()}}}
    (built.output / "tiny" / "1" / "manifest.json").write_text(json.dumps(manifest))
    (one,) = found(built)
    assert one.code == "TRN633"
    assert one.message.endswith("is not there")


@pytest.mark.parametrize("built", ["classification"], indirect=True)
def test_a_part_that_a_symlink_leads_away(built: EncoderWorkshop, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (built.output / "tiny_encoder").rename(outside)
    (built.output / "tiny_encoder").symlink_to(outside)
    codes = {(one.code, one.severity) for one in check(built.output, host=HOST)}
    assert ("TRN013", "warning") in codes
    assert "TRN633" not in {code for code, _ in codes}
