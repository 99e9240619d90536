"""Outliers: area under the ROC curve of FlowOutlier next to detectors from scikit-learn and PyOD.

    python benchmarks/jobs/outliers.py [FOLDER] [--share 0.05] [--trim 0.15] [--rows 6000] [--limit N] [--quick]

Without a folder, on tables shipped inside packages, with one of their classes as outliers; with one, on its ``.npz``
files of ``X`` and ``y``, 1 for an anomaly, as in ADBench. The protocol is that of Livernoche et al. (2024),
arXiv:2305.18593: a detector is fitted to half of the normal rows, standardised, and scores the other half and the
outliers. ``--share`` adds outliers to the rows of the fit, at most half of them; these are not scored;
``--trim`` is the share of the rows of the fit that FlowOutlier leaves out.
False alarms are the normal rows with a p-value of at most 0.05. PyOD's detectors are included if it is installed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import plots
from measure.jobs import main, row
from measure.results import Row, table

try:
    from pyod.models import copod, ecod, hbos, inne, knn
except ImportError:
    PYOD: dict[str, Callable[[], Any]] = {}
else:
    PYOD = {"ECOD": ecod.ECOD, "COPOD": copod.COPOD, "KNN": knn.KNN, "HBOS": hbos.HBOS}
    PYOD |= {"INNE": partial(inne.INNE, random_state=0)}

Rows = NDArray[np.float64]
Labelled = tuple[Rows, NDArray[Any]]
SKLEARN: dict[str, Callable[[Rows], Any]] = {
    "local outlier factor": lambda a: LocalOutlierFactor(min(20, len(a) - 1), novelty=True),
    "isolation forest": lambda a: IsolationForest(random_state=0),
    "mixture": lambda a: GaussianMixture(min(8, max(1, len(a) // (5 * a.shape[1]))), reg_covar=1e-3, random_state=0),
    "Mahalanobis": lambda a: EllipticEnvelope(support_fraction=1.0),
    "one-class SVM": lambda a: OneClassSVM(gamma="scale"),
}
LEVEL = 0.05
MOST_TESTED = 4000


def classes(load: Callable[..., Any], *odd: int) -> Labelled:
    """A table from scikit-learn with some of its classes as outliers."""
    x, y = load(return_X_y=True)
    return x, np.isin(y, odd).astype(int)


def plotnine(name: str, column: str, odd: str) -> Labelled:
    """The numbers of a table from plotnine; rows with one value of a column are outliers."""
    import plotnine.data

    frame = getattr(plotnine.data, name).dropna()
    return frame.select_dtypes("number").to_numpy(float), (frame[column] == odd).to_numpy().astype(int)


def archive(path: Path) -> Labelled:
    with np.load(path) as stored:
        return stored["X"].astype(float), stored["y"].ravel().astype(int)


SHIPPED: dict[str, Callable[[], Labelled]] = {
    "iris, virginica": partial(classes, datasets.load_iris, 2),
    "wine, class 0": partial(classes, datasets.load_wine, 0),
    "wine, class 1": partial(classes, datasets.load_wine, 1),
    "wine, class 2": partial(classes, datasets.load_wine, 2),
    "breast cancer, malignant": partial(classes, datasets.load_breast_cancer, 0),
    "penguins, Chinstrap": partial(plotnine, "penguins", "species", "Chinstrap"),
    "digits, 0": partial(classes, datasets.load_digits, 0),
    "digits, 1": partial(classes, datasets.load_digits, 1),
    "digits, 9": partial(classes, datasets.load_digits, 9),
    "diamonds, fair": partial(plotnine, "diamonds", "cut", "Fair"),
}


def divided(x: Rows, y: NDArray[Any], share: float, most: int) -> tuple[Rows, Rows, NDArray[Any]]:
    """Standardised rows to fit and to score, and which of the latter are outliers."""
    random = np.random.default_rng(0)
    usual, odd = random.permutation(np.flatnonzero(y == 0)), random.permutation(np.flatnonzero(y == 1))
    half = len(usual) // 2
    fitted = usual[:half][:most]
    strayed = min(round(share / (1 - share) * len(fitted)), len(odd) // 2)
    chosen = random.permutation(np.r_[fitted, odd[:strayed]])
    tested = np.r_[usual[half:][:MOST_TESTED], odd[strayed:][:MOST_TESTED]]
    keep = x[chosen].std(0) > 1e-9
    loc, scale = x[chosen].mean(0)[keep], x[chosen].std(0)[keep]
    return (x[chosen][:, keep] - loc) / scale, (x[tested][:, keep] - loc) / scale, y[tested]


def rivals(fit: Rows, test: Rows) -> Iterator[tuple[str, Rows, float]]:
    """Names, the outlier scores of the rows, and the seconds taken."""
    started = time.perf_counter()
    yield "nearest neighbours", NearestNeighbors(n_neighbors=5).fit(fit).kneighbors(test)[0][:, -1], _since(started)
    for name, make in SKLEARN.items():
        started = time.perf_counter()
        yield name, -make(fit).fit(fit).score_samples(test), _since(started)
    for name, new in PYOD.items():
        started = time.perf_counter()
        yield f"PyOD {name}", new().fit(fit).decision_function(test), _since(started)


def _since(started: float) -> float:
    return time.perf_counter() - started


def area(odd: NDArray[Any], values: Rows) -> float:
    return float(roc_auc_score(odd, np.nan_to_num(values, nan=1e30, posinf=1e30, neginf=-1e30)))


def run(sets: dict[str, Callable[[], Labelled]], share: float, trim: float, most: int, case: str) -> list[Row]:
    warnings.simplefilter("ignore")  # singular covariances, and mixtures that have not converged
    fit, test, odd = divided(*sets[case](), share, most)
    started = time.perf_counter()
    detector = pf.FlowOutlier(random_state=0, trim=trim).fit(fit)
    ours, seconds = area(odd, -detector.score_samples(test)), _since(started)
    usual = test[odd == 0]
    alarms = {"usual rows": len(usual), "false alarms": int((detector.p_values(usual) <= LEVEL).sum())}
    sizes = {"rows": len(fit), "columns": fit.shape[1], "seconds": seconds, **alarms}
    return [
        row(case, name, ours, area(odd, values), higher=True) | {"their seconds": theirs} | sizes
        for name, values, theirs in rivals(fit, test)
    ]


def means(rows: Sequence[Row]) -> dict[str, str]:
    """Each detector's mean area and seconds, and the false alarms over all cases."""
    first = {each["case"]: each for each in rows}.values()
    found = [{"detector": "FlowOutlier", **_mean(first, "ours", "seconds")}]
    for rival in dict.fromkeys(each["rival"] for each in rows):
        of = [each for each in rows if each["rival"] == rival]
        found.append({"detector": rival, **_mean(of, "theirs", "their seconds")})
    usual, alarms = (sum(each[key] for each in first) for key in ("usual rows", "false alarms"))
    told = f"{alarms} of {usual} usual rows have a p-value of at most {LEVEL}: {alarms / usual:.1%}."
    return {"Means": table(sorted(found, key=lambda each: -float(each["mean area"]))), "False alarms": told}


def _mean(rows: Any, area: str, seconds: str) -> Row:
    return {
        "mean area": f"{np.mean([each[area] for each in rows]):.4f}",
        "sets": len(rows),
        "mean seconds": f"{np.mean([each[seconds] for each in rows]):.2f}",
    }


def picture(rows: Sequence[Row]) -> Figure:
    """Our area against the best rival's, a point for each case."""
    figure, ((axes,),) = plots.panels(1, 1, width=4.2, height=4.2)
    best = {each["case"]: max(r["theirs"] for r in rows if r["case"] == each["case"]) for each in rows}
    ours = {each["case"]: each["ours"] for each in rows}
    lowest = min(*best.values(), *ours.values()) - 0.02
    axes.plot([lowest, 1], [lowest, 1], color="grey", lw=1)
    axes.scatter([best[case] for case in ours], list(ours.values()), color=plots.COLOURS["pushforward"], s=18)
    axes.set(xlabel="the best of all rivals, set by set", ylabel="FlowOutlier", title="Area under the ROC")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of .npz files with X and y")
    parser.add_argument("--share", type=float, default=0.0, help="of odd rows among those of the fit")
    parser.add_argument("--trim", type=float, default=0.0, help="share of the rows that FlowOutlier leaves out")
    parser.add_argument("--rows", type=int, default=6000, help="most usual rows that are fitted")
    parser.add_argument("--limit", type=int, help="only so many sets, the first or smallest")
    chosen = parser.parse_known_args()[0]
    stored = sorted(chosen.folder.glob("*.npz"), key=lambda path: path.stat().st_size) if chosen.folder else []
    sets: dict[str, Callable[[], Labelled]] = {path.stem: partial(archive, path) for path in stored}
    sets = sets or SHIPPED
    main(
        "outliers"
        + (f"-{chosen.folder.name}" if chosen.folder else "")
        + (f"-{100 * chosen.share:g}-percent" if chosen.share else "")
        + (f"-trim-{100 * chosen.trim:g}" if chosen.trim else ""),
        "Odd rows: FlowOutlier next to other detectors",
        "Area under the ROC: 1 where every odd row is odder than every usual one, 0.5 for chance.",
        lambda quick: list(sets)[: 2 if quick else chosen.limit],
        partial(run, sets, chosen.share, chosen.trim, chosen.rows),
        arguments=parser,
        summary=means,
        picture=picture,
    )
