"""The fuzzer of message readers (`fuzz_readers`): its seeds, and what it does to them, without atheris."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_readers import READERS, check, mutated

SEEDS = {path.name: path.read_bytes() for path in (Path(__file__).parent / "support" / "reader_seeds").iterdir()}


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS.keys())
def test_no_seed_breaks_the_promise_of_its_reader(seed):
    assert check(seed)


def test_each_reader_has_a_seed():
    assert {seed.partition(b"\n")[0].decode() for seed in SEEDS.values()} == READERS.keys()


@given(st.sampled_from(sorted(SEEDS.values())), st.lists(st.integers(0, 2**32), min_size=1, max_size=4))
def test_no_change_of_a_seed_breaks_the_promise_of_its_reader(seed, changes):
    for change in changes:
        seed = mutated(seed, change)
    check(seed)


@pytest.mark.parametrize("data", [b"", b"\xff\n{}", b"no such reader\n{}"])
def test_what_names_no_reader_is_passed_over(data):
    assert not check(data)


def test_what_is_no_json_is_left_to_others():
    assert mutated(b"tell\n{", 1) == b"tell\n{"
    assert not check(b"tell\n{")
    assert not check(b"planner.submit\n" + b"[" * 100_000)
