"""Every transition keeps where its chains started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from small_ladts import build

from rl_agent.ladts.buffers import LatentReplayBuffer
from rl_agent.ladts.layout import ObservationLayout

OBSERVATIONS = spaces.Box(0.0, 1.0, (3, 2), np.float32)


def test_buffer_keeps_copies_of_both_starts_and_the_terminal_observation() -> None:
    """Given lanes with short episodes, then every stored next start belongs to the stored next observation."""
    model = build(n_envs=3, policy_kwargs={"latent_action": "score"}, gradient_steps=0)
    model.learn(300)
    buffer = model.replay_buffer
    assert isinstance(buffer, LatentReplayBuffer)
    size = buffer.pos
    np.testing.assert_array_equal(buffer.starts[:size], buffer.observations[:size, ..., 1])
    np.testing.assert_array_equal(buffer.next_starts[:size], buffer.next_observations[:size, ..., 1])
    ends = buffer.dones[:size].astype(bool)
    assert ends.any()
    assert (buffer.timeouts[:size][ends] == 1).all()
    following = buffer.observations[1:size]
    same = (following == buffer.next_observations[: size - 1]).all(axis=(2, 3))
    np.testing.assert_array_equal(same, ~ends[:-1])
    samples = buffer.sample(50)
    assert (samples.dones == 0).all()  # a truncated episode is not an end
    assert samples.starts.shape == (50, 4)


def test_carried_starts_are_stored_as_they_were_when_used() -> None:
    one_key = ObservationLayout(node=(8, 9), key=0, n_keys=1)
    model = build(n_envs=1, policy_kwargs={"latent_action": "carried", "layout": one_key})
    model.learn(100)
    buffer = model.replay_buffer
    assert isinstance(buffer, LatentReplayBuffer)
    ends = buffer.dones[: buffer.pos - 1, 0].astype(bool)
    continuous = (buffer.next_starts[: buffer.pos - 1, 0] == buffer.starts[1 : buffer.pos, 0]).all(axis=1)
    assert continuous[~ends].all()
    assert len(np.unique(buffer.starts[: buffer.pos, 0], axis=0)) > 50


def test_replay_buffer_saves_and_loads(tmp_path: Path) -> None:
    model = build().learn(60)
    model.save_replay_buffer(tmp_path / "buffer")
    other = build()
    other.load_replay_buffer(tmp_path / "buffer")
    assert isinstance(other.replay_buffer, LatentReplayBuffer)
    np.testing.assert_array_equal(other.replay_buffer.starts, model.replay_buffer.starts)  # type: ignore[union-attr]


def test_a_transition_without_its_starts_is_refused() -> None:
    buffer = LatentReplayBuffer(4, OBSERVATIONS, spaces.Discrete(3), device="cpu")
    rows, one = np.zeros((1, 3, 2), np.float32), np.zeros(1)
    with pytest.raises(RuntimeError, match="pending"):
        buffer.add(rows, rows, one, one, one, [{}])


def test_what_has_no_latent_action_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="optimize_memory_usage"):
        LatentReplayBuffer(4, OBSERVATIONS, spaces.Discrete(3), optimize_memory_usage=True)
    with pytest.raises(ValueError, match="Discrete"):
        LatentReplayBuffer(4, OBSERVATIONS, spaces.Box(0.0, 1.0, (3,), np.float32))
