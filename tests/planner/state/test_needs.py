"""What a job needs, and what a node has refused jobs for lack of."""

from __future__ import annotations

from image_requests import an_image_request

from broker_config.messages import ImageRequest
from planner.state.needs import FIRST_PAUSE_S, MAX_PAUSE_S, MAX_REFUSALS, Needs, Refusals, Thing

SKETCH = Thing("adapter", "sketch")


def test_jobs_of_one_model_size_and_set_of_adapters_have_equal_needs_whatever_the_weights():
    one, other = (
        Needs.of(ImageRequest(**an_image_request(seed=seed, adapters=adapters)))
        for seed, adapters in ((1, {"a": 1.0, "b": 0.5}), (2, {"b": 0.1, "a": -1.0}))
    )
    assert one == other
    assert one.outfit == "tiny + a + b"
    assert one != Needs.of(ImageRequest(**an_image_request(adapters={"a": 1.0})))


def test_what_was_refused_is_not_asked_for_before_a_pause_that_doubles():
    refusals, now = Refusals(), 0.0
    for pause_s in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S):
        refusals.note(SKETCH, "gone", now)
        assert refusals.reason(SKETCH, now + pause_s - 1) == "gone"
        now += pause_s
        assert refusals.reason(SKETCH, now) is None
    for _ in range(20):
        refusals.note(SKETCH, "gone", now)
        now += MAX_PAUSE_S
    assert refusals.reason(SKETCH, now) is None


def test_jobs_that_were_on_their_way_when_the_first_was_refused_do_not_lengthen_the_pause():
    refusals = Refusals()
    for _ in range(5):
        refusals.note(SKETCH, "gone", 0.0)
    assert refusals.reason(SKETCH, FIRST_PAUSE_S) is None


def test_what_is_there_again_is_no_longer_refused():
    refusals = Refusals()
    for thing in (SKETCH, Thing("model", "tiny")):
        refusals.note(thing, "gone", 0.0)
    refusals.forget([SKETCH, Thing("adapter", "never heard of")])
    assert refusals.reason(SKETCH, 1.0) is None
    assert refusals.reason(Thing("model", "tiny"), 1.0) == "gone"
    refusals.clear()
    assert refusals.reason(Thing("model", "tiny"), 1.0) is None


def test_only_so_many_are_remembered():
    refusals = Refusals()
    for index in range(MAX_REFUSALS + 1):
        refusals.note(Thing("adapter", str(index)), "gone", 0.0)
    assert refusals.reason(Thing("adapter", "0"), 1.0) is None
    assert refusals.reason(Thing("adapter", "1"), 1.0) == "gone"
