from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from logged_site import log_of, write_log
from open_databases import is_open, opened_databases
from policies import policy_files
from small_round import SMALL, UNBOUNDED, retrain
from sqlalchemy import delete, insert, update

from broker_config.settings import Settings
from rl_agent.database import open_database
from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.edge_placement.simulator import Simulator
from rl_agent.errors import RetrainingError
from rl_agent.experience.log import insert_experience
from rl_agent.placing.rules import RandomPlacer
from rl_agent.policy.file import parse_policy, write_policy
from rl_agent.policy.registry import PolicyRow, PolicyState, add_policy, policies, promote, promoted_policy
from rl_agent.policy.registry import policy_files as files_of
from rl_agent.policy.rule_policy import placer_of
from rl_agent.retraining.retrainer import Retrainer
from rl_agent.retraining.rounds import RoundResult, RoundRow, rounds_since

BAD = {"plays": "round-robin"}
"""It knows no speeds: on nodes of speeds 1:5 several times worse than any rule that does, whatever the scenario."""


@pytest.fixture
def settings(tmp_path):
    """A site whose settings name a bad policy."""
    write_policy(tmp_path / "policy", policy_files("of-settings", **BAD))
    return Settings(_env_file=None, data_dir=tmp_path, policy=str(tmp_path / "policy"), **UNBOUNDED)


@contextmanager
def begin(settings):
    engine = open_database(settings.database)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def versions(settings):
    with begin(settings) as connection:
        return {row["version"]: row for row in policies(connection)}


def promoted(settings):
    """The promoted version and its placer."""
    with begin(settings) as connection:
        version = promoted_policy(connection)
        return version, None if version is None else placer_of(parse_policy(version, files_of(connection, version)))


def test_a_policy_that_is_better_in_the_twin_is_promoted_with_its_provenance(settings, long_simple_log, long_simple):
    # Given a log, and a bad policy that serves
    write_log(settings.database, long_simple_log)
    # When it is retrained
    seen = []
    outcome = Retrainer(settings, SMALL, lambda what, share: seen.append((what, share))).run()
    # Then a better one serves, and says where it comes from
    version, placer = promoted(settings)
    assert outcome.is_promoted
    assert outcome.version == version
    assert "at the gate" in outcome.reason
    row = versions(settings)[version]
    assert row["trial"]["passed"]
    training = json.loads(row["card"])["training"]
    assert training["from"] == "of-settings"
    assert training["twin"]["explained"] > 0.9
    bad = placer_of(parse_policy("bad", policy_files("bad", **BAD)))
    assert Simulator(long_simple).run(placer).mean() < 0.7 * Simulator(long_simple).run(bad).mean()
    # And the progress was told from the beginning to the gate
    assert seen[0] == ("reading experience", 0.0)
    assert seen[-1][0] == "at the gate"
    assert all(0.0 <= share <= 1.0 for _, share in seen)


def test_the_same_log_is_not_learnt_from_twice(settings, simple_log):
    write_log(settings.database, simple_log)
    Retrainer(settings, SMALL).run()
    before = versions(settings)
    again = Retrainer(settings, SMALL).run()
    assert "no new experience" in again.reason
    assert versions(settings) == before


def test_too_little_experience_is_said_so(settings, simple_log):
    write_log(settings.database, simple_log[:10])
    outcome = Retrainer(settings, SMALL).run()
    assert (outcome.version, outcome.is_promoted) == (None, False)
    assert "10 usable experiences" in outcome.reason


def test_a_site_without_a_ledger_is_one_sentence(settings):
    with pytest.raises(RetrainingError, match="is there a planner"):
        Retrainer(settings, SMALL).run()


def test_a_promotion_by_hand_during_the_round_is_not_overruled(settings, simple_log):
    write_log(settings.database, simple_log)

    def promote_by_hand(what, _share):
        if what == "at the gate" and promoted(settings)[0] is None:
            with begin(settings) as connection:
                add_policy(connection, policy_files("by-hand"), 1.0)
                promote(connection, "by-hand", 1.0)

    outcome = Retrainer(settings, SMALL, promote_by_hand).run()
    assert not outcome.is_promoted
    assert promoted(settings)[0] == "by-hand"
    assert versions(settings)[outcome.version]["state"] == PolicyState.REJECTED


@pytest.mark.fault(24, "B")
def test_a_damaged_policy_is_replaced_by_a_retrained_one(settings, many_models_log, caplog):
    # Given a promoted policy one bit of whose weights has flipped
    write_log(settings.database, many_models_log)
    files = policy_files("damaged")
    weights = files.weights[:-1] + bytes([files.weights[-1] ^ 1])
    with begin(settings) as connection:
        add_policy(connection, files, 1.0)
        promote(connection, "damaged", 1.0)
        connection.execute(update(PolicyRow).values(weights=weights))
    # When it is retrained, although nothing better is learnt
    outcome = Retrainer(settings, dataclasses.replace(SMALL, trials=0, decisions=1)).run()
    # Then a sound policy serves
    assert "starts from the shipped policy" in caplog.text
    assert outcome.is_promoted, outcome.reason
    assert promoted(settings)[0] == outcome.version
    assert versions(settings)["damaged"]["state"] == PolicyState.RETIRED


def poison(rows, generator):
    """Rows as somebody would write who wants a bad policy: absurd rewards, copies, versions of the future."""
    poisoned = []
    for number, row in enumerate(rows):
        kind = number % 4
        bad = {**row, "job": f"poison-{number}"}
        if kind == 0:
            bad["reward"] = float(generator.choice([1e9, -1e9, np.inf, 0.0]))
        elif kind == 1:
            bad["decision"] = bytes([row["decision"][0], row["decision"][1] + 1]) + row["decision"][2:]
        elif kind == 2:  # consistent with itself, and a thousand times too fast
            bad |= {"generation_s": 1e-3, "waiting_s": 0.0, "load_s": 0.0, "transfer_in_s": 0.0, "transfer_out_s": 0.0}
            bad |= {"arrived_at": row["decided_at"], "finished_at": row["decided_at"] + 1e-3, "reward": -1e-3}
        poisoned.append(bad)
    return poisoned


def test_a_poisoned_log_gets_no_bad_policy_promoted(settings, simple_log, simple, caplog):
    # Given a good policy that serves, and as much poison in the log as experience
    generator = np.random.default_rng(0)
    poisoned = poison(simple_log, generator)
    rows = [row for pair in zip(simple_log, poisoned, strict=True) for row in pair]
    write_log(settings.database, rows)
    with begin(settings) as connection:
        add_policy(connection, policy_files("good"), 1.0)
        promote(connection, "good", 1.0)
    # When it is retrained
    Retrainer(settings, SMALL).run()
    # Then what serves is as good as before at the real site, and the log says what did not count
    _, placer = promoted(settings)
    good = placer_of(parse_policy("good", policy_files("good")))
    assert Simulator(simple).run(placer).mean() <= 1.05 * Simulator(simple).run(good).mean()
    for reason in ("another version", "copy", "do not add up to"):
        assert reason in caplog.text or reason.replace("do not", "that its delay parts do not") in caplog.text


@pytest.mark.fault(25, "B")
def test_a_retraining_killed_20_times_leaves_the_promoted_policy_serving_and_no_half_file(settings, simple):
    # Given a promoted policy, and a log that grows
    rows = log_of(simple, RandomPlacer(seed=1))
    write_log(settings.database, rows[:80])
    with begin(settings) as connection:
        add_policy(connection, policy_files("good"), 1.0)
        promote(connection, "good", 1.0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_round"])
    chance = random.Random(0)
    for _ in range(2):  # the first one also starts the server
        began = time.monotonic()
        process = context.Process(target=retrain, args=(settings.data_dir, settings.policy))
        process.start()
        process.join()
        whole_s = min(time.monotonic() - began, 4.0)
        with begin(settings) as connection:
            connection.execute(delete(RoundRow))
    for kill in range(20):
        with begin(settings) as connection:
            insert_experience(connection, [{**rows[80 + kill]}])
        # When it is killed anywhere
        process = context.Process(target=retrain, args=(settings.data_dir, settings.policy))
        process.start()
        process.join(chance.uniform(0.0, whole_s))
        process.kill()
        process.join()
        # Then a whole policy serves, and every version in the registry is whole
        version, placer = promoted(settings)
        assert version == "good" or versions(settings)[version]["trial"]["passed"]
        assert np.isfinite(Simulator(simple).run(placer)).all()
        names = list(versions(settings))
        with begin(settings) as connection:
            for name in names:
                parse_policy(name, files_of(connection, name))
    # And the next one that is left alone ends, and leaves nothing half written behind
    Retrainer(settings, SMALL).run()
    left = sorted(path.name for path in (settings.data_dir / "retraining").iterdir())
    assert left == ["checkpoint.safetensors"]


def rounds(settings):
    with begin(settings) as connection:
        return rounds_since(connection, 0.0)


def test_a_round_ends_within_its_time_and_judges_what_it_has_found(settings, long_simple_log):
    # Given a bad policy that serves, and a plan that would take hours
    write_log(settings.database, long_simple_log)
    plan = dataclasses.replace(SMALL, trials=10**6, decisions=10**6, repeats=1000, seconds=20.0)
    # When a round is done
    began = time.monotonic()
    outcome = Retrainer(settings, plan).run()
    # Then it ends in time, and a better policy serves: learning has left time for the gate
    assert time.monotonic() - began < 1.5 * plan.seconds
    assert outcome.is_promoted
    # And what it used is in the ledger
    (row,) = rounds(settings)
    assert row["result"] == RoundResult.ENDED
    assert row["reason"] == outcome.reason
    assert row["wall_s"] == outcome.wall_s > 0.8 * plan.seconds
    assert 0.0 < row["processor_s"] == outcome.processor_s
    assert row["outcomes"] == len(long_simple_log)


@pytest.mark.parametrize("seed", [11, 12])
def test_whatever_the_site_a_round_rids_it_of_a_bad_policy(settings, seed):
    site = ScenarioSpec(n_nodes=3, jobs_per_node=80, throttle_every_s=1e9, away_every_s=1e9).draw(seed)
    write_log(settings.database, log_of(site, RandomPlacer(seed=0)))
    assert Retrainer(settings, dataclasses.replace(SMALL, trials=0, decisions=1)).run().is_promoted
    bad = placer_of(parse_policy("bad", policy_files("bad", **BAD)))
    assert Simulator(site).run(promoted(settings)[1]).mean() < Simulator(site).run(bad).mean()


@pytest.mark.parametrize(
    ("plan", "changes", "setting"),
    [({"seconds": 0.5}, {}, "LADLE_RETRAIN_SECONDS"), ({}, {"retrain_share": 1e-4}, "LADLE_RETRAIN_SHARE")],
)
def test_a_round_cut_short_says_so_promotes_nothing_and_is_taken_up_again(
    settings, long_simple_log, plan, changes, setting
):
    # Given a round that has no time to judge
    write_log(settings.database, long_simple_log)
    outcome = Retrainer(settings.with_changes(**changes), dataclasses.replace(SMALL, **plan)).run()
    # Then it says so, and which setting is to blame
    assert outcome.reason.startswith("cut short at the gate")
    assert outcome.reason.endswith(f"({setting} allows no more): nothing was judged")
    assert (outcome.version, outcome.is_promoted, versions(settings)) == (None, False, {})
    assert rounds(settings)[0]["result"] == RoundResult.CUT_SHORT
    # And the same outcomes are learnt from when there is time
    assert Retrainer(settings, SMALL).run().is_promoted


def test_a_round_does_not_begin_below_a_number_of_new_outcomes(settings, simple_log):
    # Given a round, and fewer new outcomes than the setting asks for
    settings = settings.with_changes(retrain_min_outcomes=20)
    write_log(settings.database, simple_log[:80])
    Retrainer(settings, SMALL).run()
    with begin(settings) as connection:
        insert_experience(connection, simple_log[80:99])
    # Then no round begins, and it is said what is missing
    reason = "19 new outcomes since the last round, 20 are needed (LADLE_RETRAIN_MIN_OUTCOMES)"
    assert Retrainer(settings, SMALL).run().reason == reason
    assert len(rounds(settings)) == 1
    # And one outcome more makes one
    with begin(settings) as connection:
        insert_experience(connection, simple_log[99:100])
    Retrainer(settings, SMALL).run()
    assert [row["outcomes"] for row in rounds(settings)] == [20, 80]


def test_what_the_last_hour_has_used_of_the_processor_is_not_used_again(settings, simple_log):
    # Given rounds that have used the share of an hour, one of them killed
    write_log(settings.database, simple_log)
    settings = settings.with_changes(retrain_share=0.05)
    used = {"last_id": 0, "outcomes": 60, "result": RoundResult.BEGUN, "reason": "", "wall_s": 200.0}
    now = time.time()
    with begin(settings) as connection:
        for ago_s in (3_000.0, 600.0):
            at = {"began_at": now - ago_s - 200.0, "noted_at": now - ago_s}
            connection.execute(insert(RoundRow).values(**used, **at, processor_s=89.0))
    # Then no round begins
    reason = "the trainer has used 178 s of the processor in the last hour, of 180 s that LADLE_RETRAIN_SHARE allows"
    assert Retrainer(settings, SMALL).run().reason == reason
    # And when the hour of one is over, the next may use what that one had
    with begin(settings) as connection:
        connection.execute(update(RoundRow).where(RoundRow.noted_at < now - 2_000.0).values(noted_at=now - 3_601.0))
    assert Retrainer(settings, SMALL).run().version is not None


class Killed(BaseException):
    """Ends a round where it is."""


def kill_late(what, share):
    if what == "learning in the twin" and share > 0.75:
        raise Killed


def begins_anew(settings):
    """Whether a round begins with the search, as a new one does."""

    def kill(what, _share):
        if what.endswith("in the twin"):
            raise Killed(what)

    with pytest.raises(Killed) as found:
        Retrainer(settings, SMALL, kill).run()
    return str(found.value) == "searching in the twin"


def test_a_killed_round_goes_on_from_its_checkpoint_although_the_log_has_grown(settings, simple_log):
    # Given a round that was killed, and experience that came after it
    write_log(settings.database, simple_log[:100])
    with pytest.raises(Killed):
        Retrainer(settings, SMALL, kill_late).run()
    with begin(settings) as connection:
        insert_experience(connection, simple_log[100:])
    # When it is started again
    made = []
    outcome = Retrainer(settings, SMALL, lambda what, share: made.append((what, share))).run()
    # Then it goes on where it was, with the log as it was
    first = next(share for what, share in made if what == "learning in the twin" and share > 0.0)
    assert first > 0.4
    assert json.loads(versions(settings)[outcome.version]["card"])["training"]["experience"]["last_id"] == 100
    # And the next round is a new one
    assert begins_anew(settings)


def test_a_round_that_was_killed_long_ago_begins_anew(settings, simple_log):
    write_log(settings.database, simple_log)
    with pytest.raises(Killed):
        Retrainer(settings, SMALL, kill_late).run()
    checkpoint = Retrainer(settings, SMALL).checkpoint
    os.utime(checkpoint, (0.0, 0.0))
    with begin(settings) as connection:
        insert_experience(connection, [{**simple_log[-1], "job": "new"}])
    assert begins_anew(settings)


def test_a_damaged_checkpoint_is_begun_anew(settings, simple_log):
    write_log(settings.database, simple_log)
    path = Retrainer(settings, SMALL).checkpoint
    path.parent.mkdir()
    path.write_bytes(b"half a fi")
    assert Retrainer(settings, SMALL).run().version is not None


@pytest.mark.parametrize("has_ledger", [True, False])
def test_after_a_round_no_database_is_open(settings, has_ledger):
    if has_ledger:
        write_log(settings.database, [])
    with opened_databases() as opened, nullcontext() if has_ledger else pytest.raises(RetrainingError):
        Retrainer(settings, SMALL).run()
    assert opened
    assert not any(is_open(connection) for connection in opened)
