from __future__ import annotations

import pytest

from rl_agent.placing.backlog import AttemptView, backlog_s


def test_a_running_attempt_counts_what_is_left_and_the_next_ones_whole():
    attempts = [
        AttemptView(model="m", predicted_s=10.0, running_s=4.0),
        AttemptView(model="m", predicted_s=3.0),
    ]
    assert backlog_s(attempts) == pytest.approx(9.0)


def test_an_input_on_its_way_delays_the_attempt():
    assert backlog_s([AttemptView(model="m", predicted_s=3.0, input_in_s=5.0)]) == pytest.approx(8.0)


def test_an_overdue_attempt_is_expected_to_take_a_quarter_of_its_time_once_more():
    assert backlog_s([AttemptView(model="m", predicted_s=10.0, running_s=40.0)]) == pytest.approx(10.0)


def test_an_idle_node_has_no_backlog():
    assert backlog_s([]) == 0.0
