"""Wrong inputs at the shell: exit code 2, one sentence that says what to mend, and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from refusals import refused

from pushforward.cli import app as cli

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=80), RNG.normal(size=80)


def csv(folder: Path, **columns: object) -> None:
    pl.DataFrame(columns, strict=False).write_csv(folder / "t.csv")


def good(folder: Path) -> None:
    csv(folder, a=A, b=B, k=["u", "v"] * 40)


def write(name: str, content: bytes | str):
    def make(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def spoilt(row: int, value: object):
    return lambda folder: csv(folder, a=[*A[:row], value, *A[row + 1 :]], b=B)


def text_in(row: int):
    return lambda folder: csv(folder, a=[*map(str, A[:row]), "abc", *map(str, A[row + 1 :])], b=B)


FIT = "fit {}/t.csv -o {}/m --flow maf --steps 1 "
STRICT = FIT + "--strict "
CASES = {
    # the file
    "no file": (lambda f: None, FIT, "t.csv: there is no such file"),
    "folder": (lambda f: (f / "t.csv").mkdir(), FIT, "is a folder, expected a file"),
    "empty": (write("t.csv", ""), FIT, "the file is empty"),
    "ending": (write("t.docx", "x"), "fit {}/t.docx -o {}/m", "expected one of .csv"),
    "only names": (write("t.csv", "a,b\n"), FIT, "column names but no rows"),
    "blank first line": (write("t.csv", "\n1\n2\n"), FIT, "first line is blank"),
    "not utf-8": (write("t.csv", b"a,b\n1,\x81\xfe\n"), FIT, "save it again as UTF-8"),
    "ragged": (write("t.csv", "a,b\n1,2\n1,2,3\n"), FIT, "row 2 has 3 cells, but the first line names 2 columns"),
    "bytes in names": (write("t.csv", b"gr\x81\xdfe,b\n1,2\n"), FIT, "save it again as UTF-8"),
    "a comment": (write("t.csv", "# by me, too\na,b,c\n1,2,3\n"), FIT, "its first line is a comment; remove it"),
    "same names": (write("t.csv", "a,b,a\n1,2,3\n"), FIT, "two columns are called 'a'"),
    "nameless": (write("t.csv", "a,,b\n1,2,3\n"), FIT, "column 2 has no name"),
    "broken parquet": (write("t.parquet", "PAR1 nonsense"), "fit {}/t.parquet -o {}/m", "cannot be read as parquet"),
    "broken numpy": (write("t.npy", "nonsense"), "fit {}/t.npy -o {}/m", "cannot be read as npy"),
    "an image": (lambda f: np.save(f / "t.npy", np.zeros((3, 4, 5))), "fit {}/t.npy -o {}/m", "has shape (3, 4, 5)"),
    "objects": (lambda f: np.save(f / "t.npy", np.array(["a"] * 9)), "fit {}/t.npy -o {}/m", "expected numbers"),
    "two arrays": (lambda f: np.savez(f / "t.npz", u=A, v=B), "fit {}/t.npz -o {}/m", "2 arrays (u, v)"),
    "uneven split": (
        lambda f: np.savez(f / "t.npz", train=np.ones((9, 2)), val=np.ones((9, 3))),
        "fit {}/t.npz -o {}/m",
        "'val' has 3 columns, but 'train' has 2",
    ),
    # the values
    "nothing but names": (
        lambda f: csv(f, k=[f"id{i}" for i in range(80)], n=range(1, 81)),
        FIT,
        "no column is left to model; k: left out: a name or free text",
    ),
    "names of their own": (
        lambda f: csv(f, a=A, k=[f"id{i}" for i in range(80)]),
        STRICT,
        "column 'k' holds 80 ",
    ),
    "one text": (lambda f: csv(f, a=A, k=["u"] * 80), STRICT, "column 'k' is constant ('u' in every row)"),
    "spoilt given": (text_in(6), STRICT + "--given a", "or treat it as a category with --categories"),
    "one bad cell": (text_in(6), STRICT, "column 'a', row 7: 'abc' is not a number"),
    "money": (
        lambda f: csv(f, a=A, b=[f"${v:,.2f}" for v in 1e4 * B]),
        STRICT,
        "is a number with marks; write it without",
    ),
    "per cent": (lambda f: csv(f, a=A, b=[f"{v:.1f}%" for v in B]), STRICT, "column 'b', row 1: "),
    "too large": (lambda f: csv(f, a=1e300 * A), STRICT, "outside what single precision holds; change its units"),
    "missing": (spoilt(4, None), STRICT, "column 'a', row 5: a missing value; leave such rows out with --drop-missing"),
    "infinite": (spoilt(4, float("inf")), STRICT, "column 'a', row 5: an infinite value"),
    "all missing": (lambda f: csv(f, a=A, b=[None] * 80), STRICT, "column 'b' has no value in any row"),
    "constant": (lambda f: csv(f, a=A, b=[3.0] * 80), STRICT, "column 'b' is constant (3.0 in every row)"),
    "copy": (lambda f: csv(f, a=A, b=2 * A + 1), STRICT, "column 'b' follows from others"),
    "few rows": (lambda f: csv(f, a=A[:9], b=B[:9]), FIT, "has 9 usable rows, and a density needs at least 10"),
    "few left": (
        lambda f: csv(f, a=[None] * 75 + list(A[:5]), b=B),
        FIT + "--drop-missing",
        "has 5 usable rows",
    ),
    "out of bounds": (good, FIT + "--columns a,b --bounds a=0,1", "lies outside its bounds 0 and 1"),
    "constant given": (lambda f: csv(f, a=A, k=["u"] * 80), STRICT + "--given k", "column 'k' is 'u' in every row"),
    "many texts": (
        lambda f: csv(f, a=np.tile(A, 6), k=[f"id{i % 240}" for i in range(480)]),
        STRICT + "--given k",
        "column 'k' holds 240 different values, and a category may have 200",
    ),
    # the arguments
    "no command": (good, "fot", 'Unknown command "fot". Did you mean "fit"? Help: pushforward --help'),
    "no output": (good, "fit {}/t.csv", "--output"),
    "annealed": (good, FIT + "--anneal 5", "--anneal: needs a --target"),
    "modes": (good, FIT + "--modes search", "--modes: needs a --target"),
    "support": (good, FIT + "--support real:2", "--support: needs a --target"),
    "pixels": (good, FIT + "--patch 2", "--patch: applies to images"),
    "unknown option": (good, FIT + "--colums a", "--colums"),
    "no number": (good, FIT + "--layers two", "--layers"),
    "unknown column": (
        good,
        FIT + "--columns a,c",
        "has no column 'c'; its columns are a, b, k",
    ),
    "twice": (good, FIT + "--columns a,a", "--columns: 'a' is named twice"),
    "both": (good, FIT + "--columns a,k --given k", "modelled or conditioned on, not both"),
    "nothing left": (good, FIT + "--given a,b,k", "no column is left to model"),
    "empty name": (good, FIT + "--columns a,,b", "expected column names with commas"),
    "unknown flow": (
        good,
        "fit {}/t.csv -o {}/m --columns a,b --flow mafia",
        "there is no flow 'mafia'; choose one of nsf",
    ),
    "narrow": (good, FIT + "--columns a,b --given k --hidden 1", "too narrow"),
    "no widths": (good, FIT + "--hidden 8,x", "--hidden: expected positive whole numbers"),
    "no time": (
        good,
        "fit {}/t.csv -o {}/m --columns a,b --budget soon",
        "--budget: expected a positive number of seconds",
    ),
    "steps and epochs": (good, FIT + "--columns a,b --epochs 3", "epochs"),
    "no steps": (good, "fit {}/t.csv -o {}/m --columns a,b --steps 0", "steps"),
    "no batch": (good, FIT + "--columns a,b --batch-size 0", "--batch-size 0: expected a positive integer"),
    "no rate": (good, FIT + "--columns a,b --lr -1", "lr"),
    "no device": (good, FIT + "--columns a,b --device cuda:77", "--device cuda:77"),
    "bounds form": (good, FIT + "--columns a,b --bounds a=1,0", "expected COLUMN=LOW,HIGH"),
    "bounds stray": (good, FIT + "--columns a --bounds b=-9,9", "'b' is not among the modelled columns of numbers, a"),
    "bounds of a name": (good, FIT + "--bounds k=0,1", "'k' is not among the modelled columns of numbers, a, b"),
    "period form": (good, FIT + "--columns a,b --circular a=24", "--circular: expected COLUMN=LOW,HIGH"),
    "period": (good, FIT + "--columns a,b --circular a=0,0.5", "lies outside its period, 0 to 0.5"),
    "no category": (good, FIT + "--categories c", "--categories: "),
    "category stray": (good, FIT + "--columns a --categories k", "'k' is not among the columns of the model, a"),
    "model ending": (good, "fit {}/t.csv -o {}/m.csv", "a model is a folder"),
    "other folder": (
        lambda f: (good(f), (f / "m").mkdir(), write("m/x", "x")(f)),
        FIT,
        "a folder with other files in it",
    ),
    "no parent": (good, "fit {}/t.csv -o {}/no/m", "create it first"),
    "wider than memory": (good, FIT + "--hidden 1000000000", "--hidden 1000000000"),
    "deeper than any flow": (good, FIT + "--layers 100000", "--layers 100000: expected at most 1,000"),
    "a name of 300 letters": (good, f"fit {{}}/{'t' * 300}.csv -o {{}}/m", "file name too long"),
    "a seed of 90 bits": (good, FIT + "--seed 999999999999999999999999999", "--seed 999"),
}
MODEL_CASES = {
    "no model": ("score {}/none {}/t.csv -o {}/s.csv", "there is no such model"),
    "a file": ("score {}/t.csv {}/t.csv -o {}/s.csv", "is a file; a model is a folder"),
    "no such folder": ("score {} {}/t.csv -o {}/s.csv", "is not a readable model"),
    "format": ("score {model} {}/t.csv -o {}/s.docx", "the ending says the format"),
    "lacking": ("score {model} {}/t.csv -o {}/s.csv", "has no column 'size', 'price', 'count', 'colour'"),
    "samples": ("score {model} {}/t.csv -o {}/s.csv --samples 0", "for --samples"),
    "below": ("score {model} {}/t.csv -o {}/s.csv --explain-below 500", "expected a percentile"),
    "no rows": ("sample {model} -n 0 -o {}/s.csv", "for -n"),
    "no value": ("sample {model} -n 5 -o {}/s.csv", "as in --given colour=green"),
    "odd value": ("sample {model} -n 5 -o {}/s.csv --given colour=pink", "the model knows blue, green, red"),
    "no assignment": ("sample {model} -n 5 -o {}/s.csv --given colour", "expected COLUMN=VALUE"),
    "stray value": ("sample {model} -n 5 -o {}/s.csv --given size=3", "is conditioned on colour"),
    "more than memory": ("sample {model} -n 99999999999999999999 -o {}/s.csv --given colour=red", "-n 999"),
    "a seed of 90 bits": (
        "sample {model} -n 5 -o {}/s.csv --given colour=red --seed 999999999999999999999999999",
        "seed",
    ),
    "kept twice": ("score {model} {}/odd.csv -o {}/s.csv --keep size,size", "'size' is named twice"),
    "kept twice beside predictions": (
        "predict {model} {}/odd.csv size -o {}/s.csv --keep size,size",
        "'size' is named twice",
    ),
    "another table": ("update {model} {}/t.csv -o {}/m", "has no column 'size'"),
    "drift of another table": ("drift {model} {}/t.csv", "has no column 'size'"),
    "cold": ("sample {model} -n 5 -o {}/s.csv --given colour=red --temperature 0", "--temperature 0"),
    "report": ("report {model} -o {}/r.pdf", "expected .html"),
    "info": ("info {}/none", "there is no such model"),
    "compare": ("compare {model} {}/none {}/t.csv", "there is no such model"),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, arguments, sentence = CASES[case]
    make(tmp_path)
    refused(capsys, tmp_path, arguments.replace("{}", str(tmp_path)), sentence)


@pytest.mark.parametrize("case", MODEL_CASES)
def test_the_other_commands_refuse(
    case: str, tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good(tmp_path)
    odd = {"size": [1.0, 2.0], "price": [3, 4], "count": [1, 1], "colour": ["red", "pink"]}
    pl.DataFrame(odd).write_csv(tmp_path / "odd.csv")
    arguments, sentence = MODEL_CASES[case]
    arguments = arguments.replace("{model}", str(workshop / "given")).replace("{}", str(tmp_path))
    refused(capsys, tmp_path, arguments, sentence)


def test_a_damaged_model_is_refused(tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m"
    model.mkdir()
    for file in (workshop / "plain").iterdir():
        content = file.read_bytes()
        (model / file.name).write_bytes(content[: len(content) // 2])
    refused(capsys, tmp_path, f"info {model}", f"{model}: is not a readable model")


def test_an_unexpected_failure_is_one_sentence_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good(tmp_path)

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("disk full\nand more")

    monkeypatch.setattr("pushforward.cli.fitting.read_any", fail)
    assert cli.main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "m")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("pushforward: OSError: disk full (")
    assert err.count("\n") == 1


def test_json_errors_are_json(tmp_path: Path, run) -> None:
    assert "no such file" in run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", code=2)["error"]
