"""A version folder carries the code that it reaches, no more and no less."""

import subprocess
import sys

from builder import house, modules

FILES = {
    "__init__.py": "",
    "front/__init__.py": "",
    "front/model.py": "from backends.text import decoding\nimport json\n",
    "front/other.py": "import backends.engine.protocol\n",
    "text/__init__.py": "from backends.text.names import LETTERS\n",
    "text/names.py": "LETTERS = 3\n",
    "text/decoding.py": "def late():\n    from backends.shared import tools\n    from os import path\n",
    "text/unrelated.py": "",
    "shared/tools.py": "from backends.text import decoding\n",
    "engine/__init__.py": "",
    "engine/protocol.py": "",
    "engine/one.py": "from backends.engine.protocol import Engine\nimport some_library\n",
    "engine/two.py": "",
}


def written(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(folder, found):
    return [str(file.relative_to(folder)) for file in found]


def test_what_a_model_reaches(tmp_path):
    folder = written(tmp_path / "backends")
    found = names(folder, modules.reached(folder, [folder / "front" / "model.py"]))
    assert found == [
        "__init__.py",
        "front/__init__.py",
        "front/model.py",
        "shared/tools.py",
        "text/__init__.py",
        "text/decoding.py",
        "text/names.py",
    ]


def test_a_second_root_is_loaded_by_name(tmp_path):
    folder = written(tmp_path / "backends")
    roots = [folder / "front" / "model.py", folder / "engine" / "one.py"]
    more = set(names(folder, modules.reached(folder, roots))) - set(
        names(folder, modules.reached(folder, roots[:1]))
    )
    assert more == {"engine/__init__.py", "engine/one.py", "engine/protocol.py"}


def test_the_order_of_roots_does_not_matter(tmp_path):
    folder = written(tmp_path / "backends")
    roots = [folder / "front" / "model.py", folder / "engine" / "one.py"]
    assert modules.reached(folder, roots) == modules.reached(folder, roots[::-1])


def test_published_code_stands_alone(workshop):
    """Every copied module is imported with nothing of this project on the path."""
    workshop.build()
    backends = house.folder("backends")
    for model in ("tiny", "tiny_tokenizer", "tiny_detokenizer"):
        version = workshop.output / model / "1"
        copied = [
            ".".join(file.relative_to(version).with_suffix("").parts)
            for file in sorted((version / "backends").rglob("*.py"))
            if file.name != "__init__.py"
        ]
        assert copied
        script = f"import sys, importlib; sys.path[:0] = [{str(version)!r}]\n" + "\n".join(
            f"importlib.import_module({name!r})" for name in copied
        )
        script += "\nassert 'builder' not in sys.modules"
        subprocess.run([sys.executable, "-I", "-B", "-c", script], check=True, cwd=workshop.folder)
        for file in (version / "backends").rglob("*.py"):
            assert file.read_bytes() == (backends / file.relative_to(version / "backends")).read_bytes()


def test_each_model_gets_its_own_code_only(workshop):
    workshop.build()
    code = {
        model: {
            str(file.relative_to(workshop.output / model / "1" / "backends"))
            for file in (workshop.output / model / "1" / "backends").rglob("*.py")
        }
        for model in ("tiny", "tiny_tokenizer", "tiny_detokenizer")
    }
    assert {"engine/onnxruntime.py", "engine/decoder_rows.py"} <= code["tiny"]
    for part in ("tiny_tokenizer", "tiny_detokenizer"):
        assert not [name for name in code[part] if name.startswith(("engine/", "front/"))]
    assert not (workshop.output / "tiny_ensemble" / "1" / "backends").exists()
