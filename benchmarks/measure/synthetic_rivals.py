"""One rival of ``jobs/synthetic.py``, in the Python that has it: learns a CSV file's rows and writes new ones.

    python synthetic_rivals.py NAME TRAIN.csv DRAWN.csv ROWS SECONDS

The only output is a line of JSON with the seconds of learning and drawing, and what was reduced to stay in time.
Seconds are CPU time if ``BENCH_CLOCK=cpu``.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

from clock import clock

Drawn = tuple[pd.DataFrame, str]
EPOCHS = 300  # the default of CTGAN and TVAE
FOREST_LEVELS, FOREST_COPIES = 50, 100  # the defaults of ForestFlow


def _gan(kind: str, train: pd.DataFrame, rows: int, seconds: float) -> Drawn:
    """300 epochs, or as many as the time allows."""
    import ctgan

    model_of = getattr(ctgan, kind)
    names = [name for name in train if not _is_number(train[name])]
    took = []
    for epochs in (1, 3):  # the first seconds are spent on describing the columns
        started = clock()
        model_of(epochs=epochs, **_cpu(model_of)).fit(train, names)
        took.append(clock() - started)
    each = max((took[1] - took[0]) / 2, 1e-3)
    epochs = int(max(min(EPOCHS, (0.9 * seconds - took[0]) / each), 1))
    model = model_of(epochs=epochs, **_cpu(model_of))
    model.fit(train, names)
    return model.sample(rows), "" if epochs == EPOCHS else f"{epochs} epochs of {EPOCHS}"


def _cpu(model_of: Any) -> dict[str, bool]:
    named = model_of.__init__.__code__.co_varnames
    return {"enable_gpu": False} if "enable_gpu" in named else {"cuda": False}


def _arf(train: pd.DataFrame, rows: int, seconds: float) -> Drawn:
    from arfpy import arf

    whole = train.copy()
    for name in whole:
        whole[name] = whole[name] if _is_number(whole[name]) else whole[name].astype("category")
    model = arf.arf(x=whole, verbose=False)
    model.forde()
    drawn = model.forge(n=rows)
    for name in train:
        if _is_number(train[name]) and (train[name] % 1 == 0).all():
            drawn[name] = drawn[name].astype(float).round()  # the R package does this by itself
    return drawn, ""


def _forest_flow(train: pd.DataFrame, rows: int, seconds: float) -> Drawn:
    from ForestDiffusion import ForestDiffusionModel

    coded, back = _codes(train)
    names = [j for j, name in enumerate(train) if not _is_number(train[name])]
    whole = [j for j, name in enumerate(train) if _is_number(train[name]) and (train[name] % 1 == 0).all()]
    kinds = {"cat_indexes": names, "int_indexes": whole, "diffusion_type": "flow", "n_jobs": 1}
    started = clock()
    ForestDiffusionModel(coded, n_t=2, duplicate_K=2, **kinds)
    share = 0.9 * seconds / (clock() - started)  # how many times two levels and two copies fit into the time
    levels = int(min(max(2 * share / 5, 2), FOREST_LEVELS))  # at least ten copies, if that leaves two levels
    copies = int(min(max(4 * share / levels, 1), FOREST_COPIES))
    model = ForestDiffusionModel(coded, n_t=levels, duplicate_K=copies, **kinds)
    note = f"{levels} time levels of {FOREST_LEVELS}, {copies} copies of {FOREST_COPIES}"
    return back(model.generate(batch_size=rows)), note


def _gaussian_copula(train: pd.DataFrame, rows: int, seconds: float) -> Drawn:
    """Each column's empirical distribution, and the correlations of its normal scores; ties are ordered at random."""
    from scipy.special import ndtr, ndtri

    coded, back = _codes(train)
    rng = np.random.default_rng(0)
    scores = np.empty_like(coded)
    for j, column in enumerate(coded.T):
        places = np.lexsort((rng.random(len(column)), column))
        scores[places, j] = ndtri((np.arange(len(column)) + 0.5) / len(column))
    drawn = ndtr(rng.multivariate_normal(np.zeros(coded.shape[1]), np.corrcoef(scores.T), rows))
    last = len(coded) - 1
    return back(
        np.stack([np.sort(c)[(u * last).round().astype(int)] for c, u in zip(coded.T, drawn.T, strict=True)], 1)
    ), ""


def _codes(train: pd.DataFrame) -> tuple[np.ndarray, Callable[[np.ndarray], pd.DataFrame]]:
    """Texts as whole numbers, and the way back."""
    words = {name: sorted(train[name].unique()) for name in train if not _is_number(train[name])}
    coded = train.copy()
    for name, known in words.items():
        coded[name] = train[name].map({word: i for i, word in enumerate(known)})

    def back(values: np.ndarray) -> pd.DataFrame:
        frame = pd.DataFrame(values, columns=train.columns)
        for name, known in words.items():
            places = frame[name].astype(float).round().clip(0, len(known) - 1).astype(int)
            frame[name] = [known[place] for place in places]
        for name in train:
            if name not in words and (train[name] % 1 == 0).all():
                frame[name] = frame[name].astype(float).round().astype(int)
        return frame

    return coded.to_numpy(float, copy=True), back


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


RIVALS: dict[str, Callable[[pd.DataFrame, int, float], Drawn]] = {
    "CTGAN": lambda *given: _gan("CTGAN", *given),
    "TVAE": lambda *given: _gan("TVAE", *given),
    "ARF": _arf,
    "ForestFlow": _forest_flow,
    "Gaussian copula": _gaussian_copula,
}


def main(name: str, train: str, drawn: str, rows: str, seconds: str) -> None:
    warnings.simplefilter("ignore")
    np.random.seed(0)  # noqa: NPY002  the rivals draw from it
    started = clock()
    frame, note = RIVALS[name](pd.read_csv(train), int(rows), float(seconds))
    took = clock() - started
    frame.to_csv(drawn, index=False)
    print(json.dumps({"seconds": took, "note": note}))


if __name__ == "__main__":
    main(*sys.argv[1:])
