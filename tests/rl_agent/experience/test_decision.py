from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_agent.errors import ExperienceFormatError
from rl_agent.experience.decision import HEADER, Decision, decisions, decode, encode
from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, observe
from rl_agent.placing.placer import WAITING
from rl_agent.placing.rules import RULES, EarliestCompletionPlacer
from rl_agent.policy.rows import COLUMN

BYTES_AT_50_NODES = 3072


def observation(n_jobs=4, n_nodes=5, room=1, seed=0):
    generator = np.random.default_rng(seed)
    estimates = Estimates()
    for k in range(n_nodes):
        estimates.observe_outcome(
            f"gpu-{k:02d}-berlin", "m", units=1, generation_s=float(generator.uniform(0.1, 0.5)), load_s=3.0
        )
    nodes = [
        NodeView(node=f"gpu-{k:02d}-berlin", backlog_s=float(generator.uniform(0, 20)), room=room, resident=("m",))
        for k in range(n_nodes)
    ]
    jobs = [
        JobView(
            job=f"j{n}",
            model=("m", "other")[n % 2],
            units=float(generator.uniform(1, 30)),
            waited_s=float(generator.uniform(0, 9)),
            latent_action=dict.fromkeys([node.node for node in nodes], 1 / n_nodes) if n % 2 else None,
        )
        for n in range(n_jobs)
    ]
    return observe(jobs, nodes, estimates)


def logged(seen, placer=None):
    placement = (placer or EarliestCompletionPlacer()).place(seen)
    return placement, list(decisions(seen, placement))


def test_what_was_encoded_is_decoded_in_half_precision():
    _, rows = logged(observation())
    for _, decision in rows:
        again = decode(encode(decision))
        assert again.nodes == decision.nodes
        np.testing.assert_allclose(again.rows, decision.rows, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(again.latent_action, decision.latent_action, rtol=1e-3)
        np.testing.assert_allclose(again.probabilities, decision.probabilities, rtol=1e-3)
        np.testing.assert_array_equal(again.eligible, decision.eligible)
        assert again.standard_s == pytest.approx(decision.standard_s)


def test_a_decision_over_50_nodes_fits_in_3_kib():
    _, rows = logged(observation(n_jobs=60, n_nodes=50, room=2))
    assert max(len(encode(decision)) for _, decision in rows) <= BYTES_AT_50_NODES


def test_noise_that_cannot_be_compressed_still_fits_in_3_kib_at_50_nodes():
    generator = np.random.default_rng(0)
    decision = Decision(
        nodes=tuple(f"gpu-{k:02d}-berlin" for k in range(50)),
        rows=generator.normal(size=(50, len(COLUMN))).astype(np.float32),
        latent_action=generator.random(50),
        probabilities=generator.random(50),
        standard_s=0.1,
    )
    assert len(encode(decision)) <= BYTES_AT_50_NODES


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_placed_job_is_logged_whatever_the_placer(name):
    idle = replace(observation(n_jobs=8, n_nodes=3), backlog_s=np.zeros(3))
    placement, rows = logged(idle, RULES[name](seed=0))
    assert [job for job, _ in rows] == [job for job in placement.in_order() if placement.node[job] != WAITING]
    assert len(rows) == (placement.node != WAITING).sum() > 0


def test_a_decision_sees_what_the_ones_before_it_in_the_batch_took():
    _, rows = logged(observation(n_jobs=6, n_nodes=2, room=2))
    room = [decision.rows[:, COLUMN["has_room"]].sum() for _, decision in rows]
    assert room[0] == 2
    assert room[-1] < 2


def test_another_version_is_refused():
    data = encode(logged(observation())[1][0][1])
    for position in range(2):
        other = bytearray(data)
        other[position] += 1
        with pytest.raises(ExperienceFormatError, match="version"):
            decode(bytes(other))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_bytes_are_refused_or_decoded_never_anything_else(noise, cut):
    data = encode(logged(observation(n_jobs=1, n_nodes=2))[1][0][1])
    for damaged in (noise, data[:cut] + noise, data[: HEADER.size] + noise):
        try:
            decode(damaged)
        except ExperienceFormatError:
            continue
