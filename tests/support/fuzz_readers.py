"""Lets atheris, guided by what it reaches, look for messages with which a reader breaks its promise.

`python tests/support/fuzz_readers.py --seconds 60`, after `pip install atheris` (Linux on x86-64, Python 3.11 to 3.13).
Each file of `reader_seeds` is an input. One that is found to break a promise is named at the end: mend the reader, and
keep the input as a seed, which the tests run from then on.
Source: https://github.com/google/atheris
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["broker_config"]):
    import message_readers

SEEDS = Path(__file__).with_name("reader_seeds")
MAX_INPUT_BYTES = 2**16  # longer ones find nothing more, and take their time
MAX_READ_S = 10  # of one input: a reader that takes longer holds everybody up
MAX_MEMORY_MIB = 2048


NOT_KEPT = -1  # libFuzzer then makes no further inputs from this one
CHANGES_PER_BYTE_CHANGE = 4  # most changes of bytes are no JSON any more


def fuzz(data: bytes) -> int:
    """Check one input."""
    return 0 if message_readers.check(data) else NOT_KEPT


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a value of the body, or bytes of it."""
    name, _, body = data.partition(b"\n")
    if seed % CHANGES_PER_BYTE_CHANGE:
        return message_readers.mutated(data, seed)[:max_size]
    return name + b"\n" + atheris.Mutate(body, max(max_size - len(name) - 1, 0))


def main() -> None:
    """Fuzz for some seconds; the exit status is not 0 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    found = tempfile.mkdtemp(prefix="ladle-fuzz-")
    options = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT_BYTES,
        "timeout": MAX_READ_S,
        "rss_limit_mb": MAX_MEMORY_MIB,
        "artifact_prefix": f"{found}/broken-",
        "reduce_inputs": 0,  # a shorter one that reaches as much has lost the fields to be changed
        "verbosity": 0,
        "print_final_stats": 1,
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), found, str(SEEDS)]
    atheris.Setup(arguments, fuzz, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
