from __future__ import annotations

import json

import numpy as np
import pytest
import torch as th
from policies import policy_files
from safetensors.torch import save_file

from rl_agent.policy.file import parse_policy
from rl_agent.retraining.checkpoint import RoundState, read_checkpoint, write_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "retraining" / "checkpoint.safetensors"


def state(**changes):
    weights = parse_policy("v", policy_files("v", scale=0.3)).weights
    given = {"base": "sha", "rule": "priced-completion", "last_id": 7, "best": weights, "best_s": 0.1 + 0.2}
    return RoundState(**{**given, **changes})


def test_what_is_read_is_what_was_written(path):
    # Given a round in the middle of its learning
    written = state(
        trials=20,
        is_searched=True,
        decisions=400,
        rounds=({"trials": 3, "mean_delay_s": 5.5}, {"decisions": 200, "mean_delay_s": 5.25}),
        learner={"actor.x": th.tensor([1.5, -2.0]), "critic.x": th.eye(2)},
    )
    # When it is written and read
    write_checkpoint(path, written)
    read = read_checkpoint(path)
    # Then nothing is lost, not even the last digit
    plain = ("base", "rule", "last_id", "best_s", "trials", "is_searched", "decisions", "rounds")
    assert [getattr(read, name) for name in plain] == [getattr(written, name) for name in plain]
    for name, values in vars(written.best).items():
        np.testing.assert_array_equal(getattr(read.best, name), values)
    assert read.learner.keys() == written.learner.keys()
    assert all(th.equal(read.learner[name], tensor) for name, tensor in written.learner.items())


def test_where_nothing_was_written_there_is_nothing_to_go_on_from(path, caplog):
    assert read_checkpoint(path) is None
    assert caplog.text == ""


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"half a fi", lambda data: b""])
def test_a_half_written_file_is_refused_and_the_log_says_so(path, damage, caplog):
    write_checkpoint(path, state())
    path.write_bytes(damage(path.read_bytes()))
    assert read_checkpoint(path) is None
    assert "retraining starts afresh" in caplog.text


def test_a_file_of_the_version_before_is_refused_and_the_log_says_so(path, caplog):
    # Given what version 4027b80 wrote: other names, and the learner's tensors without a prefix
    path.parent.mkdir()
    note = {"base": "sha", "rule": "priced-completion", "last_id": 7, "rounds": [], "best_s": 1.0}
    tensors = {"best.latent": th.zeros(3), "critic.x": th.eye(2)}
    save_file(tensors, path, metadata={"ladle": json.dumps({**note, "is_searched": True, "done": 200})})
    # When it is read
    assert read_checkpoint(path) is None
    # Then the log names the file and says what becomes of the round
    assert str(path) in caplog.text
    assert "of another version: retraining starts afresh" in caplog.text


def test_what_a_killed_writer_left_behind_is_removed(path):
    write_checkpoint(path, state())
    left = path.parent / f".{path.name}.abc"
    left.write_bytes(b"half")
    assert read_checkpoint(path) is not None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("change", [{"base": "other"}, {"rule": "earliest-completion"}, {"last_id": 8}])
def test_another_policy_rule_or_experience_makes_another_round(change):
    assert state().is_of_round(state(best_s=9.0, trials=3))
    assert not state().is_of_round(state(**change))


def test_the_critics_are_told_from_the_actor():
    learner = {"actor.x": th.zeros(1), "critic.x": th.ones(1), "critic_target.x": th.ones(1)}
    assert state(learner=learner).critics.keys() == {"critic.x", "critic_target.x"}
