"""Startup times: seconds for the import, for the first density and for the first training step.

    python benchmarks/startup.py [--families realnvp,cnf] [--rounds 3]

Each number comes from separate processes, which take turns; medians. PyTorch's own import is listed by itself:
libraries built on it cannot be faster. ``pushforward`` imports nothing until a name is used,
``pushforward.recipes.tables`` what a flow needs. Compilers start with empty caches.
"""

from __future__ import annotations

import argparse
import statistics

from measure import results
from measure.probe import ask
from measure.subjects import BUILDERS, families_of, installed

PEERS = ("zuko", "nflows.flows", "normflows", "torchdiffeq", "jax", "flowjax.flows", "diffrax")
MODULES = ("torch", "pushforward", "pushforward.recipes.tables", *PEERS)


def medians(questions: list[tuple[str, ...]], rounds: int) -> list[results.Row]:
    """The median answer to each question, asked in turns."""
    answers: list[list[dict[str, float]]] = [[] for _ in questions]
    for _ in range(rounds):
        for found, question in zip(answers, questions, strict=True):
            found.append(ask(*question))
            print(question, found[-1], flush=True)
    return [{key: statistics.median(each[key] for each in found) for key in found[0]} for found in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="realnvp,nsf,cnf")
    parser.add_argument("--sizes", default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    modules = [module for module in MODULES if installed(module)]
    answers = medians([("import", module) for module in modules], options.rounds)
    imports = [{"module": module} | answer for module, answer in zip(modules, answers, strict=True)]
    tables, rows = {"Import, seconds": results.table(imports)}, imports
    for family in options.families.split(","):
        libraries = [library for library in BUILDERS if family in families_of(library)]
        answers = medians([("first", library, family, options.sizes) for library in libraries], options.rounds)
        calls = [{"library": library} | answer for library, answer in zip(libraries, answers, strict=True)]
        tables[f"{family}: first calls, seconds"] = results.table(calls)
        rows = rows + [{"family": family} | call for call in calls]
    results.write("startup", "Import and first calls", tables, rows)


if __name__ == "__main__":
    main()
