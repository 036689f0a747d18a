from __future__ import annotations

from rl_agent.placing.residency import resident_after


def test_the_most_recently_used_models_stay():
    assert resident_after(("x", "y"), ["x", "z"], 2) == ("x", "z")
    assert resident_after((), ["x", "x"], 1) == ("x",)
    assert resident_after(("x",), [], 1) == ("x",)
