"""Benchmarks of practical tasks, each next to the tools that people would otherwise use.

A script in ``benchmarks/jobs`` has a function ``cases()``, which lists the names of its cases, and a function
``run(case)``, which runs one and returns its rows, each with the keys of :func:`row`. :func:`main` does the rest: it
saves every finished case, so that an interrupted run can continue, and writes one dated result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from . import results


def row(case: str, rival: str, ours: float, theirs: float, *, higher: bool) -> results.Row:
    """The results of this library and a rival on one case; ``higher`` says whether more is better."""
    return {"case": case, "rival": rival, "ours": ours, "theirs": theirs, "better": "higher" if higher else "lower"}


def lost(each: results.Row) -> bool:
    """Whether the rival did better."""
    ours, theirs = each["ours"], each["theirs"]
    return bool(theirs > ours if each["better"] == "higher" else theirs < ours)


def done(name: str, cases: Iterable[str], run: Callable[[str], list[results.Row]]) -> list[results.Row]:
    """The rows of all cases; those in today's journal, from this machine and these versions, are not run again."""
    journal, where = results.path_of(name).with_suffix(".jsonl"), results.machine()
    entries = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    kept = {entry["case"]: entry["rows"] for entry in entries if entry["machine"] == where}
    for case in cases:
        if case not in kept:
            kept[case] = run(case)
            with journal.open("a") as file:
                file.write(json.dumps({"case": case, "machine": where, "rows": kept[case]}) + "\n")
        print(case, kept[case], flush=True)
    return [each for case in cases for each in kept[case]]


def main(
    name: str,
    title: str,
    meaning: str,
    cases: Callable[[bool], list[str]],
    run: Callable[[str], list[results.Row]],
    *,
    arguments: argparse.ArgumentParser | None = None,
    summary: Callable[[Sequence[results.Row]], Mapping[str, str]] | None = None,
    picture: Callable[[Sequence[results.Row]], Figure] | None = None,
) -> Path | None:
    """Runs a job's benchmark and writes ``results/DATE-job-NAME``, losses first; nothing without cases.

    Args:
        name: The job.
        title: Of the result.
        meaning: What its numbers mean, in a sentence or two.
        cases: Returns the names of the cases; only a few small ones if its argument, ``--quick``, is true.
        run: Does one case and returns its rows.
        arguments: A parser, without help, for the job's own arguments; the job reads them itself.
        summary: Tables that come first, given all rows.
        picture: A figure, given all rows.
    """
    parser = argparse.ArgumentParser(description=title, parents=[arguments] if arguments else [])
    parser.add_argument("--quick", action="store_true", help="a few small cases")
    quick = parser.parse_args().quick
    called = f"job-{name}{'-quick' if quick else ''}"
    found = cases(quick)
    if not found:
        print(f"{name}: none of its data is here (see --help), nothing was run")
        return None
    rows = sorted(done(called, found, run), key=lost, reverse=True)
    behind = sum(map(lost, rows))
    notes = f"{meaning} Behind in {behind} of {len(rows)} comparisons, which come first."
    tables = {**(summary(rows) if summary else {}), "Next to": results.table(rows)}
    path = results.write(called, title, tables, rows, notes=notes, figure=picture(rows) if picture else None)
    path.with_suffix(".jsonl").unlink(missing_ok=True)
    return path
