from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from batches import a_batch, fleets, queues
from hypothesis import given
from hypothesis import strategies as st

from rl_agent.placing.joint_order import IDLE_AGEING, JointOrder, ageing_now
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.placer import WAITING


@given(fleets, queues, st.floats(0.05, 5.0), st.randoms(use_true_random=False))
def test_a_job_is_passed_only_by_jobs_that_came_less_than_its_service_over_ageing_later_whatever_nodes_are_chosen(
    fleet, queue, ageing, chooser
):
    seen = a_batch(fleet, queue)
    order = JointOrder(Outlook(seen), ageing)
    decided = []
    for job in order:
        decided.append(job)
        order.give(job, chooser.choice([WAITING, *np.flatnonzero(seen.eligible[job]).tolist()]))
    longest_s = seen.generation_s + seen.cold_load_s[seen.model] + seen.cold_load_s.max(axis=0)  # whatever is evicted
    everyone = [job for job in order.rank.argsort(kind="stable").tolist() if seen.eligible[job].any()]
    for position, first in enumerate(decided):
        for passed in everyone[position + 1 :]:
            came_later_s = seen.waited_s[passed] - seen.waited_s[first]
            assert came_later_s <= longest_s[passed][seen.eligible[passed]].max() / ageing + 1e-6


@given(fleets, queues)
def test_a_job_that_no_node_can_take_now_is_left_out_and_the_others_go_on(fleet, queue):
    seen = a_batch(fleet, queue)
    order = JointOrder(Outlook(seen))
    decided = [job for job in order if not order.give(job, WAITING)]
    can_be_placed = np.flatnonzero(seen.eligible.any(axis=1)).tolist()
    assert sorted(decided) == (can_be_placed if seen.room.sum() > 0 else [])
    assert order.rank[decided].tolist() == list(range(len(decided)))


def test_waiting_makes_up_for_less_the_more_jobs_wait_for_a_node():
    seen = a_batch([(0.0, 1, "m", 1)] * 2, [("m", 1.0, 0.0, 0.0)])
    at = [ageing_now(replace(seen, waiting=waiting), 0.1) for waiting in (0, 2, 20_000_000)]
    assert at == pytest.approx([0.1 * IDLE_AGEING, 0.1 * (1.0 + (IDLE_AGEING - 1.0) / 5.0), 0.1])


def test_a_node_that_no_job_may_take_is_not_counted():
    seen = a_batch([(0.0, 1, "m", 1)] * 2, [("x", 1.0, 0.0, 0.0)])  # the second node does not serve x
    assert ageing_now(seen, 0.1) == pytest.approx(0.1 * (1.0 + (IDLE_AGEING - 1.0) / 5.0))
