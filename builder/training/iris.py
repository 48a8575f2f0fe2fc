"""Fisher's iris flowers: four measurements to the species, by logistic regression on standardised columns.

The data is scikit-learn's copy of R. A. Fisher, "The use of multiple measurements in taxonomic problems",
Annals of Eugenics 7 (1936): 150 flowers, 50 of each species, lengths and widths in centimetres.
"""

from __future__ import annotations

import pickle

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
MOST_STEPS = 1000


def train() -> bytes:
    """Return the fitted pipeline as a pickle; the same libraries make the same bytes.

    It learns from all flowers, for there is nobody to compare with: the proof is that the graph answers
    as the pipeline does, not that the pipeline is right.
    """
    import pandas
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flowers = load_iris()
    table = pandas.DataFrame(flowers.data, columns=list(COLUMNS))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
    return pickle.dumps(model.fit(table, flowers.target_names[flowers.target]), protocol=5)
