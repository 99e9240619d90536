"""Fuzzes with mutations of sound inputs, without any other tool.

    python tests/fuzz/mutations.py tables models requests lines [--seconds 60] [--seed 0]

Writes the input of a finding to ``crash-TARGET-NUMBER`` and goes on; exits with 1 if there was any. What takes more
than 20 CPU seconds, or a process of more than 2 GiB, is a finding too.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

SECONDS, BYTES = 20, 2 * 2**30
ODD = (
    b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"[", b"{", b"]", b"}", b"null", b"NaN", b"1e999", b"-0", b"-1", b"1e308",
    b"99999999999999999999", b"true", b'""', b"=cmd()", b"'", b";", b"\xef\xbb\xbf", b"a" * 5000, b"[" * 2000, b"0.1",
    b"{}", b"[]", b'"a"', b'"rows"', b"OR 1", b"2024-02-30", b"\\ud800", b" AND ", b"(" * 200,
)  # fmt: skip


def mutated(data: bytes, others: list[bytes], random: random.Random) -> bytes:
    """A sound input with a few changes: bytes, odd words, pieces doubled, lost, swapped or of another input."""
    head, body = data[:1], bytearray(data[1:])
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        start, end = sorted(random.randint(0, len(body)) for _ in range(2))
        end, kind = min(end, start + random.choice((1, 4, 40, 10**6))), random.randrange(6)
        if kind == 0 and body:
            body[random.randrange(len(body))] = random.randrange(256)
        elif kind == 1:
            body[start:start] = random.choice(ODD)
        elif kind == 2:
            body[start:end] = random.choice(ODD)
        elif kind == 3:
            del body[start:end]
        elif kind == 4:
            body[start:start] = body[start:end] * random.choice((1, 2, 50))
        else:
            other = random.choice(others)
            body[start:end] = other[min(start, len(other)) : end]
        del body[2**20 :]
    return head + bytes(body)


def too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def fuzzed(name: str, seconds: float, seed: int) -> int:
    """Tries inputs of a target for so long, and returns how many findings there were."""
    from polars.exceptions import PanicException
    from targets import TARGETS, one_input

    target, chosen = TARGETS[name](), random.Random(seed)
    seeds, tried, found = target.seeds(), 0, set()
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        data = mutated(chosen.choice(seeds), seeds, chosen) if tried >= len(seeds) else seeds[tried]
        tried += 1
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            one_input(target, data)
        except (Exception, PanicException) as error:
            frames = traceback.extract_tb(error.__traceback__)
            if (where := (type(error).__name__, str(frames[-1]))) not in found:
                found.add(where)
                Path(f"crash-{name}-{len(found)}").write_bytes(data)
                traceback.print_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{name}: {tried:,} inputs, {len(found)} findings")
    return len(found)


def most_memory() -> int:
    """The most memory of this program, in bytes; ``ru_maxrss`` counts that of the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def main() -> int:
    from targets import PLACE, TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGPROF, too_long)  # processor time, however busy the machine is
    found = sum(fuzzed(name, asked.seconds, asked.seed) for name in asked.targets)
    shutil.rmtree(PLACE, ignore_errors=True)
    most = most_memory()
    print(f"at most {most / 2**20:,.0f} MiB")
    return int(bool(found) or most > BYTES)


if __name__ == "__main__":
    sys.exit(main())
