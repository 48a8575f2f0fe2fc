"""Models of tables: what they say of their columns, which are read without trust, which cannot be served."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from builder import recipe, trust, ubjson
from builder.errors import SourceError, UsageError
from builder.source import digest, fetch, open_checkpoint
from builder.sources import tabular
from builder.sources import trained as trained_source

np = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline, make_union  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

ROOT = Path(__file__).parent.parent.parent
ROWS = 60
RANDOM = np.random.default_rng(3)
TABLE = pandas.DataFrame(
    {
        "age": np.linspace(18, 80, ROWS),
        "city": np.array(["Paris", "Rom", "Öslo"], object)[np.arange(ROWS) % 3],
        "kids": np.arange(ROWS) % 4,
        "note": np.array(["x"] * ROWS, object),
    }
)
ANSWER = np.where(TABLE["age"] > 40, "yes", "no")
NUMBERS = RANDOM.normal(size=(ROWS, 3))


def refused(reference, *said):
    with pytest.raises(SourceError) as caught:
        open_checkpoint(reference)
    assert caught.value.expected
    assert caught.value.remedy
    for text in said:
        assert text in caught.value.sentence()


def save(tmp_path, model, name="model.pkl"):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(model))
    return path


def described(tmp_path, model):
    with trust.granted():
        return open_checkpoint(save(tmp_path, model)).config


def inputs(config):
    return [(one["name"], one["data_type"], one["dims"]) for one in config["inputs"]]


def outputs(config):
    return [(one["name"], one["data_type"], one["dims"]) for one in config["outputs"]]


# --- trust


class Bomb:
    """Makes a file when it is unpickled: what a pickle may do to whoever reads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib", "M.PKL"])
def test_a_pickle_is_not_read_without_trust(tmp_path, name):
    ran = tmp_path / "ran"
    path = save(tmp_path, Bomb(ran), name)
    refused(path, "is a pickle: reading it runs whatever code it holds", "--trust-pickle", ".skops")
    assert not ran.exists()
    with trust.granted():
        refused(path, "it holds a")
    assert ran.exists()


def test_the_class_of_a_script_cannot_be_found_again(tmp_path):
    path = tmp_path / "model.pkl"
    script = "import pickle, sys\nclass Mine: pass\npickle.dump(Mine(), open(sys.argv[1], 'wb'))\n"
    subprocess.run([sys.executable, "-c", script, path], check=True)
    with trust.granted():
        refused(path, "needs Mine of the script that saved it", "move Mine to a module")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.json", b"{}", "does not begin as what XGBoost's save_model writes"),
        ("m.txt", b"hello", "does not begin as what LightGBM's save_model writes"),
        ("m.dat", pickle.dumps([1]), "looks like a pickle, which is read by the name *.pkl or *.pickle"),
        ("m.dat", b"hello", "is no kind of checkpoint known here"),
    ],
)
def test_a_file_that_is_there_and_is_no_model(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with trust.granted():
        refused(path, said)
    with pytest.raises(SourceError, match="does not exist"):
        open_checkpoint(tmp_path / "not there")


def test_what_is_expected_names_every_suffix(tmp_path):
    for suffix in {*tabular.SUFFIXES, *tabular.NATIVE, ".onnx", ".pt2", ".gguf", ".safetensors"}:
        refused(tmp_path / "not" / "there", f" {suffix}")


def test_a_pickle_of_torch_is_not_what_trust_is_about(tmp_path):
    path = save(tmp_path, [1], "model.bin")
    with trust.granted():
        refused(
            path, "is a pickle", "--trust-pickle is about scikit-learn's .pkl or .pickle or .joblib files"
        )
    with pytest.raises(SourceError) as caught:
        open_checkpoint(path)
    assert "--trust-pickle" not in str(caught.value)


def test_a_folder_with_a_model_of_one_file(tmp_path):
    path = save(tmp_path, [1])
    with trust.granted():
        refused(tmp_path, "holds model.pkl in place of model.safetensors", f"pass the file: {path}")


def test_trust_ends_with_its_block(tmp_path):
    path = save(tmp_path, LinearRegression().fit(NUMBERS, NUMBERS[:, 0]))
    with trust.granted():
        assert open_checkpoint(path).config["kind"] == "regressor"
        with trust.granted(False):
            refused(path, "--trust-pickle")
        open_checkpoint(path)
    refused(path, "--trust-pickle")


def test_skops_needs_no_trust_for_what_it_knows(tmp_path):
    skops = pytest.importorskip("skops.io")
    path = tmp_path / "model.skops"
    skops.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, ANSWER), path)
    config = open_checkpoint(path).config
    assert config["labels"] == ["no", "yes"]
    assert inputs(config) == [("features", "FP32", [3])]


def test_skops_with_a_type_that_it_does_not_know(tmp_path):
    skops = pytest.importorskip("skops.io")
    path = tmp_path / "model.skops"
    skops.dump(Bomb(tmp_path / "ran"), path)
    refused(path, "Bomb", "does not know to be safe", "--trust-pickle")
    path.write_bytes(path.read_bytes()[:50])
    refused(path, "cannot be read")


def test_pickles_that_cannot_be_read(tmp_path):
    whole = save(tmp_path, LinearRegression().fit(NUMBERS, NUMBERS[:, 0])).read_bytes()
    path = tmp_path / "model.pkl"
    with trust.granted():
        path.write_bytes(whole[: len(whole) // 2])
        refused(path, "cannot be read", "save it again")
        path.write_bytes(b"cnobody_has_this\nThing\n.")
        refused(path, "needs nobody_has_this, which is not installed", "builder[tabular]")
        refused(tmp_path / "none.pkl", "does not exist")


# --- scikit-learn


def columns(*transformers, **more):
    return ColumnTransformer(list(transformers), **more)


def test_types_of_columns_show_in_what_reads_them_first(tmp_path):
    first = columns(
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ("text", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["city"]),
        ("counts", OrdinalEncoder(), ["kids"]),
    )
    config = described(tmp_path, make_pipeline(first, LogisticRegression()).fit(TABLE, ANSWER))
    assert inputs(config) == [("age", "FP32", [1]), ("city", "STRING", [1]), ("kids", "INT64", [1])]
    assert config["inputs"][1]["categories"] == ["Paris", "Rom", "Öslo"]
    assert config["inputs"][2]["categories"] == [0, 1, 2, 3]
    assert outputs(config) == [("prediction", "STRING", [1]), ("probabilities", "FP32", [2])]
    assert config["labels"] == ["no", "yes"]
    assert (config["model_type"], config["kind"], config["batches"]) == ("sklearn", "classifier", True)
    assert config["outputs"][1]["labelled"] is True


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (StandardScaler(), "FP32"),
        ("passthrough", "FP32"),
        (OneHotEncoder(), "INT64"),
        (make_pipeline(SimpleImputer(), OneHotEncoder()), "FP32"),
        (make_union(StandardScaler(), MinMaxScaler()), "FP32"),
        (make_pipeline("passthrough", OrdinalEncoder()), "INT64"),
    ],
)
def test_type_of_a_column_of_whole_numbers(tmp_path, first, expected):
    model = make_pipeline(columns(("one", first, ["kids"])), LogisticRegression()).fit(TABLE, ANSWER)
    assert inputs(described(tmp_path, model)) == [("kids", expected, [1])]


def test_an_encoder_decides_though_others_read_the_column_too(tmp_path):
    for order in (1, -1):
        both = [("a", OneHotEncoder(), ["kids"]), ("b", StandardScaler(), ["kids"])][::order]
        model = make_pipeline(columns(*both), LogisticRegression()).fit(TABLE, ANSWER)
        assert inputs(described(tmp_path, model)) == [("kids", "INT64", [1])]


def test_columns_that_nothing_reads_are_not_asked_for(tmp_path):
    model = make_pipeline(
        columns(("a", StandardScaler(), ["age"]), ("b", "drop", ["kids"])), LinearRegression()
    ).fit(TABLE, TABLE["kids"])
    assert inputs(described(tmp_path, model)) == [("age", "FP32", [1])]


def test_text_without_names_of_columns(tmp_path):
    model = make_pipeline(
        columns(("a", OneHotEncoder(), [1]), ("b", StandardScaler(), [0])), LogisticRegression()
    )
    model.fit(TABLE[["age", "city"]].to_numpy(), ANSWER)
    assert inputs(described(tmp_path, model)) == [("column_0", "FP32", [1]), ("column_1", "STRING", [1])]


def test_names_of_plain_columns_and_their_ranges(tmp_path):
    table = pandas.DataFrame({"a b": [0.0, 2.0], "c": [5.0, 5.5]})
    model = make_pipeline(MinMaxScaler(), LinearRegression()).fit(table, [0, 1])
    config = described(tmp_path, model)
    assert config["inputs"] == [
        {"name": "a b", "data_type": "FP32", "dims": [1], "ranges": [[0.0, 2.0]]},
        {"name": "c", "data_type": "FP32", "dims": [1], "ranges": [[5.0, 5.5]]},
    ]
    scaled = described(
        tmp_path, make_pipeline(StandardScaler(), LinearRegression()).fit([[0.0], [2.0]], [0, 1])
    )
    # mean 1, deviation 1, two deviations each way
    assert scaled["inputs"] == [
        {"name": "features", "data_type": "FP32", "dims": [1], "ranges": [[-1.0, 3.0]]}
    ]


def test_a_search_is_its_best_pipeline(tmp_path):
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2)
    assert inputs(described(tmp_path, search.fit(NUMBERS, ANSWER))) == [("features", "FP32", [3])]


@pytest.mark.parametrize(
    ("classes", "labels", "data_type"),
    [
        (np.array(["b", "a"]), ["a", "b"], "STRING"),
        (np.array(["b", "a"], object), ["a", "b"], "STRING"),
        (np.array([7, -2]), ["-2", "7"], "INT64"),
        (np.array([True, False]), ["False", "True"], "INT64"),
        (np.array([1.0, 0.0]), ["0", "1"], "INT64"),
    ],
)
def test_classes(tmp_path, classes, labels, data_type):
    config = described(tmp_path, LogisticRegression().fit(NUMBERS, classes[np.arange(ROWS) % 2]))
    assert config["labels"] == labels
    assert outputs(config)[0] == ("prediction", data_type, [1])


def test_regressors_of_one_number_and_of_several(tmp_path):
    one = described(tmp_path, RandomForestRegressor(2).fit(NUMBERS, NUMBERS[:, 0]))
    assert outputs(one) == [("prediction", "FP32", [1])]
    assert one["labels"] == []
    two = described(tmp_path, RandomForestRegressor(2).fit(NUMBERS, NUMBERS[:, :2]))
    assert outputs(two) == [("prediction", "FP32", [2])]


def test_a_classifier_without_probabilities(tmp_path):
    config = described(tmp_path, RidgeClassifier().fit(NUMBERS, ANSWER))
    assert outputs(config) == [("prediction", "STRING", [1])]
    assert config["kind"] == "classifier"


def test_a_split_between_values_and_gaps_is_no_range(tmp_path):
    gaps = np.where(NUMBERS > 0, np.nan, 0.5).astype(np.float32)
    model = RandomForestRegressor(5, random_state=0).fit(gaps, np.isnan(gaps) @ [1, 2, 4])
    assert any(np.isinf(one.tree_.threshold).any() for one in model.estimators_)
    config = described(tmp_path, model)
    assert np.isfinite(config["inputs"][0].get("ranges", [[0]])).all()
    assert outputs(config) == [("prediction", "FP32", [1])]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LogisticRegression(), "never fitted"),
        (StandardScaler().fit(NUMBERS), "StandardScaler"),
        ({"a": 1}, "it holds a builtins.dict"),
        (RandomForestClassifier(2).fit(NUMBERS, np.stack([ANSWER, ANSWER], 1)), "2 questions at once"),
        (
            make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TABLE["city"], ANSWER),
            "reads no columns",
        ),
        (
            make_pipeline(columns(("words", TfidfVectorizer(), "city")), LogisticRegression()).fit(
                TABLE, ANSWER
            ),
            "splits text into words",
        ),
        (LinearRegression().fit(pandas.DataFrame({"prediction": [1.0, 2.0]}), [1, 2]), "'prediction'"),
        (None, "it holds a builtins.NoneType"),
    ],
)
def test_models_that_are_refused(tmp_path, model, said):
    path = save(tmp_path, model)
    with trust.granted():
        refused(path, said)


@pytest.mark.parametrize("absent", [None, np.nan])
def test_an_absent_category_is_refused(tmp_path, absent):
    table = pandas.DataFrame({"city": np.where(np.arange(ROWS) % 5, TABLE["city"], absent)}, dtype=object)
    path = save(tmp_path, make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, ANSWER))
    with trust.granted():
        refused(path, "column 0 has an absent value, None or NaN, among its categories", "fillna")


# --- XGBoost


@pytest.fixture(scope="module")
def xgboost():
    return pytest.importorskip("xgboost")


def boosted(xgboost, names=None, **more):
    target = more.pop("target", (NUMBERS[:, 0] > 0).astype(int))
    rows = xgboost.DMatrix(NUMBERS, label=target, feature_names=names)
    return xgboost.train({"objective": "binary:logistic", "max_depth": 2, **more}, rows, 3)


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
def test_xgboost_own_formats_need_no_trust(xgboost, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    boosted(xgboost).save_model(path)
    config = open_checkpoint(path).config
    assert inputs(config) == [("features", "FP32", [3])]
    assert outputs(config) == [("prediction", "INT64", [1]), ("probabilities", "FP32", [2])]
    assert (config["model_type"], config["labels"]) == ("xgboost", ["0", "1"])
    assert len(config["inputs"][0]["ranges"]) == 3


def test_xgboost_names_classes_and_numbers(xgboost, tmp_path):
    path = tmp_path / "model.ubj"
    boosted(xgboost, ["a", "b b", "c"], objective="multi:softprob", num_class=4).save_model(path)
    config = open_checkpoint(path).config
    assert inputs(config) == [("a", "FP32", [1]), ("b b", "FP32", [1]), ("c", "FP32", [1])]
    assert config["labels"] == ["0", "1", "2", "3"]
    boosted(xgboost, objective="reg:squarederror").save_model(path)
    assert outputs(open_checkpoint(path).config) == [("prediction", "FP32", [1])]


def test_xgboost_formats_say_the_same(xgboost):
    model = boosted(xgboost, ["a", "b", "ü"])
    binary, text = ubjson.loads(bytes(model.save_raw("ubj"))), json.loads(model.save_raw("json"))

    def same(one, other):
        if isinstance(other, dict):
            return one.keys() == other.keys() and all(same(one[name], other[name]) for name in other)
        if isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        return one == pytest.approx(other, rel=1e-6) if isinstance(other, float) else one == other

    assert same(binary, text)


def test_xgboost_object_is_its_own_trees(xgboost, tmp_path):
    fitted = xgboost.XGBClassifier(n_estimators=2).fit(
        pandas.DataFrame(NUMBERS, columns=list("abc")), ANSWER == "yes"
    )
    config = described(tmp_path, fitted)
    assert inputs(config) == [("a", "FP32", [1]), ("b", "FP32", [1]), ("c", "FP32", [1])]
    assert config["model_type"] == "xgboost"
    path = save(tmp_path, xgboost.XGBClassifier())
    with trust.granted():
        refused(path, "never fitted")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objective": "binary:logitraw"}, "binary:logitraw"),
        ({"objective": "binary:hinge"}, "binary:hinge"),
        ({"objective": "reg:logistic"}, "reg:logistic"),
        ({"booster": "gblinear", "max_depth": 0}, "gblinear"),
        ({"booster": "dart"}, "dart"),
        ({"objective": "reg:squarederror", "target": NUMBERS[:, :2]}, "2 numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_xgboost_settings_that_a_graph_would_get_wrong(xgboost, tmp_path, settings, said):
    path = tmp_path / "model.json"
    boosted(xgboost, **settings).save_model(path)
    refused(path, said)


def test_xgboost_categories(xgboost, tmp_path):
    table = pandas.DataFrame({"c": pandas.Categorical(TABLE["city"])})
    fitted = xgboost.XGBClassifier(n_estimators=2, enable_categorical=True).fit(table, ANSWER == "yes")
    path = tmp_path / "model.json"
    fitted.save_model(path)
    refused(path, "enable_categorical")
    within = make_pipeline("passthrough", fitted)
    with trust.granted():
        refused(save(tmp_path, within), "enable_categorical")


def test_damaged_xgboost(xgboost, tmp_path):
    path = tmp_path / "model.ubj"
    boosted(xgboost).save_model(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "no UBJSON", "breaks off")
    path.write_bytes(b"{i\x01ai\x05}")
    refused(path, "no whole XGBoost model", "learner")
    path = tmp_path / "model.json"
    path.write_text('{"learner": {"objective": {}}}')
    refused(path, "no whole XGBoost model")


# --- LightGBM


@pytest.fixture(scope="module")
def lightgbm():
    return pytest.importorskip("lightgbm")


def grown(lightgbm, names="auto", categorical="auto", target=None, **more):
    target = (NUMBERS[:, 0] > 0).astype(int) if target is None else target
    quiet = {"verbose": -1, "min_data_in_leaf": 2, "min_data_in_bin": 1}
    table = NUMBERS.copy()
    table[:, 2] = np.arange(ROWS) % 5
    rows = lightgbm.Dataset(
        table, label=target, feature_name=names, categorical_feature=categorical, params={**quiet, **more}
    )
    return lightgbm.train({"objective": "binary", **quiet, **more}, rows, 3)


def test_lightgbm_own_format_needs_no_trust(lightgbm, tmp_path):
    path = tmp_path / "model.txt"
    grown(lightgbm).save_model(path)
    config = open_checkpoint(path).config
    assert inputs(config) == [("features", "FP32", [3])]
    assert config["inputs"][0]["ranges"][2] == [0.0, 4.0]
    assert outputs(config) == [("prediction", "INT64", [1]), ("probabilities", "FP32", [2])]
    assert config["model_type"] == "lightgbm"


def test_lightgbm_names_and_categories(lightgbm, tmp_path):
    path = tmp_path / "model.txt"
    grown(
        lightgbm, ["a", "b", "c"], [2], objective="multiclass", num_class=3, target=np.arange(ROWS) % 3
    ).save_model(path)
    config = open_checkpoint(path).config
    assert inputs(config) == [("a", "FP32", [1]), ("b", "FP32", [1]), ("c", "FP32", [1])]
    assert set(config["inputs"][2]["categories"]) >= {0, 1, 2, 3, 4}
    assert config["labels"] == ["0", "1", "2"]


def test_lightgbm_object_knows_its_classes(lightgbm, tmp_path):
    fitted = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(NUMBERS, ANSWER)
    config = described(tmp_path, fitted)
    assert config["labels"] == ["no", "yes"]
    assert outputs(config)[0] == ("prediction", "STRING", [1])
    path = save(tmp_path, lightgbm.LGBMClassifier())
    with trust.granted():
        refused(path, "never fitted")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objective": "multiclassova", "num_class": 2}, "multiclassova"),
        ({"objective": "cross_entropy"}, "cross_entropy"),
        ({"sigmoid": 2.0}, "sigmoid:2"),
        ({"objective": "regression", "reg_sqrt": True}, "sqrt"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "boosting=rf"),
        ({"objective": "regression", "linear_tree": True}, "linear_tree"),
        ({"zero_as_missing": True}, "zero_as_missing"),
    ],
)
def test_lightgbm_settings_that_a_graph_would_get_wrong(lightgbm, tmp_path, settings, said):
    path = tmp_path / "model.txt"
    grown(lightgbm, **settings).save_model(path)
    refused(path, said, "Python model")


def test_lightgbm_columns_of_pandas_categories(lightgbm, tmp_path):
    table = pandas.DataFrame({"c": pandas.Categorical(TABLE["city"])})
    fitted = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(table, ANSWER)
    path = tmp_path / "model.txt"
    fitted.booster_.save_model(path)
    refused(path, "pandas' type category")


def test_damaged_lightgbm(lightgbm, tmp_path):
    path = tmp_path / "model.txt"
    grown(lightgbm).save_model(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"end of trees")])
    refused(path, "breaks off")
    path.write_bytes(whole.replace(b"feature_names=", b"feature_nam=", 1))
    refused(path, "lacks feature_names")
    path.write_bytes(whole.replace(b"feature_names=", b"feature_names=more ", 1))
    refused(path, "4 feature_names and 3 feature_infos")


def test_other_files_of_these_names_are_not_ours(tmp_path):
    for name, content in (("a.txt", "treetop"), ("b.json", '{"model_type": "llama"}'), ("c.json", "[]")):
        (tmp_path / name).write_text(content)
        assert not tabular.recognises(str(tmp_path / name))
    assert not tabular.recognises("none.json")
    assert not tabular.recognises("package:somebody/model.pkl")
    assert tabular.recognises("none.pkl")
    (tmp_path / "d.json").write_text(' {"learner": {}}')
    assert tabular.recognises(str(tmp_path / "d.json"))


# --- trained on the spot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BUILDER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_trained_is_described_by_its_recipe_before_it_exists(cache):
    checkpoint = open_checkpoint("trained:iris")
    assert checkpoint.config == recipe.load("iris").config
    assert not checkpoint.path.exists()
    assert not cache.exists()


def test_training_makes_what_the_recipe_says(cache):
    checkpoint = fetch(open_checkpoint("trained:iris"))
    with trust.granted():
        found = tabular.describe(checkpoint.path)
    published = checkpoint.config
    assert inputs(found) == inputs(published)
    assert outputs(found) == outputs(published)
    for name in ("model_type", "kind", "labels", "batches"):
        assert found[name] == published[name]
    assert found["outputs"] == published["outputs"]
    assert abs(checkpoint.path.stat().st_size - published["weight_bytes"]) < 500


def test_training_twice_writes_the_same_bytes(cache):
    checkpoint = fetch(open_checkpoint("trained:iris"))
    first = digest(checkpoint)
    checkpoint.path.unlink()
    again = fetch(open_checkpoint("trained:iris"))
    assert again.fingerprint == checkpoint.fingerprint
    assert digest(again) == first


def test_what_is_not_what_training_wrote_is_refused(cache, tmp_path):
    checkpoint = fetch(open_checkpoint("trained:iris"))
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refused("trained:iris", "not what was trained here", "remove")
    checkpoint.path.write_bytes(whole)
    open_checkpoint("trained:iris")
    next(checkpoint.path.parent.glob("*.sha256")).unlink()
    refused("trained:iris", "no digest")
    assert not (tmp_path / "ran").exists()


def test_nothing_else_is_trained():
    with pytest.raises(UsageError, match="'trained:moon' cannot be trained") as caught:
        open_checkpoint("trained:moon")
    assert "iris" in caught.value.expected
    assert trained_source.recognises("trained:moon")
    assert not trained_source.recognises("iris")


def test_reading_data_imports_no_library(xgboost, lightgbm, tmp_path):
    boosted(xgboost).save_model(tmp_path / "m.ubj")
    boosted(xgboost).save_model(tmp_path / "m.json")
    grown(lightgbm).save_model(tmp_path / "m.txt")
    code = (
        "import sys; from builder import source\n"
        "for name in sys.argv[1:]: source.open_checkpoint(name)\n"
        "heavy = {'numpy', 'sklearn', 'pandas', 'xgboost', 'lightgbm', 'joblib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    names = [str(tmp_path / name) for name in ("m.ubj", "m.json", "m.txt")]
    subprocess.run([sys.executable, "-c", code, *names, "trained:iris"], check=True, cwd=ROOT)
