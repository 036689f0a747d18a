from __future__ import annotations

import pytest
from logged_site import write_log
from policies import policy_files
from small_round import SMALL, UNBOUNDED

from broker_config.settings import Settings
from rl_agent.database import open_database
from rl_agent.policy.registry import add_policy, promote
from rl_agent.retraining.inputs import read_inputs


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path, **UNBOUNDED)


@pytest.fixture
def read(settings, tmp_path):
    """What a round works with when so many rows are in the log."""

    def read(rows, promoted=None, **changes):
        write_log(settings.database, rows)
        engine = open_database(settings.database)
        with engine.begin() as connection:
            if promoted is not None:
                add_policy(connection, promoted, 1.0)
                promote(connection, "v", 1.0)
            found = read_inputs(connection, settings.with_changes(**changes), SMALL, tmp_path / "checkpoint")
        engine.dispose()
        return found

    return read


def test_a_round_works_with_the_promoted_policy_and_all_that_counts(read, simple_log):
    inputs = read([*simple_log[:-1], {**simple_log[-1], "reward": 1.0}], promoted=policy_files("v"))
    assert (inputs.version, inputs.served, inputs.start.card.version) == ("v", inputs.start, "v")
    assert (len(inputs.samples.kept), inputs.outcomes) == (len(simple_log) - 1, len(simple_log))
    assert inputs.processor_s == 3_600.0
    assert inputs.saved is None


def test_the_first_round_needs_outcomes_enough_for_the_gate_too(read, simple_log):
    assert read(simple_log[:59]) == "59 usable experiences, 60 are needed"


def test_rows_that_do_not_count_are_not_enough(read, simple_log):
    damaged = [{**row, "reward": 1.0} for row in simple_log[59:]]
    assert read([*simple_log[:59], *damaged]) == "59 usable experiences, 60 are needed"


def test_a_first_round_needs_as_many_new_outcomes_as_any(read, simple_log):
    needed = "119 new outcomes since the last round, 120 are needed (LADLE_RETRAIN_MIN_OUTCOMES)"
    assert read(simple_log[:119], retrain_min_outcomes=120) == needed


def test_without_a_readable_policy_learning_starts_from_the_shipped_one(read, simple_log, tmp_path, caplog):
    inputs = read(simple_log, policy=str(tmp_path / "missing"))
    assert inputs.served is None
    assert inputs.start.card.version
    assert "retraining starts from the shipped policy" in caplog.text
