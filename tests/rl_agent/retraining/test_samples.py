from __future__ import annotations

import math

import pytest

from rl_agent.retraining.samples import check_rows


def numbered(rows):
    return [{**row, "id": number} for number, row in enumerate(rows, 1)]


def test_an_honest_log_counts_in_full(explored):
    samples = check_rows(numbered(explored))
    assert len(samples.kept) == len(explored)
    assert samples.refused == {}
    assert samples.last_id == len(explored)


@pytest.mark.parametrize(
    "change",
    [
        {"reward": 1e9},
        {"reward": math.nan},
        {"reward": None},
        {"reward": -1e-6},
        {"generation_s": -5.0},
        {"generation_s": 1e6, "reward": -1e6},
        {"units": 0.0},
        {"images": 0},
        {"propensity": 0.0},
        {"propensity": 2.0},
        {"decided_at": 0.0},
        {"finished_at": 1e12},
        {"node": "nobody"},
        {"decision": b"\x09" * 40},
        {"decision": b""},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_true_does_not_count(explored, change):
    rows = numbered([{**explored[0], **change}, *explored[1:5]])
    samples = check_rows(rows)
    assert len(samples.kept) == 4
    assert sum(samples.refused.values()) == 1


def test_a_copy_counts_once_even_under_another_name(explored):
    copies = [{**explored[0], "job": f"copy-{n}"} for n in range(50)]
    samples = check_rows(numbered([*explored[:3], *copies]))
    assert len(samples.kept) == 3
    assert samples.refused == {"a copy of another row": 50}


def test_what_is_not_done_is_counted_apart(explored):
    rows = numbered([{**explored[0], "result": None}, {**explored[1], "result": "failed"}, explored[2]])
    samples = check_rows(rows)
    assert (len(samples.kept), samples.unfinished) == (1, 2)


def test_the_next_observation_is_that_of_the_same_ingress(explored):
    rows = numbered([{**row, "ingress": ingress} for row, ingress in zip(explored, "abab", strict=False)])
    assert check_rows(rows).following() == [2, 3, None, None]
