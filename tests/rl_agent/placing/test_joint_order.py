from __future__ import annotations

import numpy as np
import pytest
from batches import a_batch, fleets, queues
from hypothesis import given
from hypothesis import strategies as st

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.joint_order import AGEING_SCALE, IDLE_AGEING, JointOrder, ageing_now
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.outlook import Outlook
from rl_agent.placing.placer import WAITING


@given(fleets, queues, st.floats(0.05, 5.0), st.booleans(), st.randoms(use_true_random=False))
def test_a_job_is_passed_only_by_jobs_that_came_less_than_its_service_over_ageing_later_whatever_nodes_are_chosen(
    fleet, queue, ageing, is_patient, chooser
):
    seen = a_batch(fleet, queue)
    order = JointOrder(Outlook(seen), ageing, is_patient=is_patient)
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
    at = [ageing_now(pressure, 0.1) for pressure in (0.0, 1.0, 1e7)]
    assert at == pytest.approx([0.1 * IDLE_AGEING, 0.1 * (1.0 + (IDLE_AGEING - 1.0) / (1.0 + AGEING_SCALE)), 0.1])


def one_job(*, backlog_s, room=1, input_s=0.0, handover_s=0.0):
    """A job of 8 s, as long as a typical one, for a node with this backlog."""
    estimates = Estimates()
    estimates.observe_outcome("a", "m", units=1.0, generation_s=8.0, load_s=0.0)
    job = JobView(job="j", model="m", units=1.0, ingress="b", input_mbit=1000.0 * input_s)
    node = NodeView(node="a", backlog_s=backlog_s, room=room, resident=("m",))
    return observe([job], [node], estimates, handover_s=handover_s)


@pytest.mark.parametrize(
    ("seen", "is_given"),
    [
        (one_job(backlog_s=3.9), True),  # half a typical generation is left
        (one_job(backlog_s=4.1), False),
        (one_job(backlog_s=4.1, input_s=0.2), True),  # its input travels meanwhile
        (one_job(backlog_s=4.1, handover_s=0.2), True),  # the assignment travels meanwhile
        (one_job(backlog_s=1e6, handover_s=np.inf), True),  # a planner that is told not to be patient
        (one_job(backlog_s=0.0, room=0), False),
    ],
)
def test_a_patient_order_gives_a_busy_node_its_next_job_once_it_is_nearly_free(seen, is_given):
    order = JointOrder(Outlook(seen), is_patient=True)
    assert [order.give(job, 0) for job in order] == [True] * is_given


@given(fleets, queues)
def test_a_patient_order_asks_about_nothing_once_no_node_can_be_given_a_job(fleet, queue):
    seen = a_batch(fleet, queue)
    outlook = Outlook(seen)
    order = JointOrder(outlook, is_patient=True)
    given_away = [order.give(job, order.aim(job)) for job in order]
    nearly_free = outlook.backlog_s <= 0.5 * seen.typical_generation_s + seen.transfer_in_s.max(axis=0)
    left = seen.eligible.any(axis=1).sum() - len(given_away)
    assert left == 0 or not (nearly_free & (outlook.room > 0)).any()
