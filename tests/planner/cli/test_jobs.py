"""`ladle jobs`: what clients and nodes wrote is shown as they wrote it."""

from __future__ import annotations

import pytest

from broker_config.messages import FailureKind

HOSTILE = "[/b] a [red]heart[/red] \x1b[2J"
SHOWN = "[/b] a [red]heart[/red] \\x1b[2J"


@pytest.fixture
def failed(planner_world):
    """A job with a hostile prompt that failed with a hostile reason."""
    planner_world.up("a")
    planner_world.submit(request={"prompt": HOSTILE})
    planner_world.start("a")
    planner_world.finish("a", "failed", failure={"kind": FailureKind.BAD_REQUEST, "message": HOSTILE})
    planner_world.record()
    return planner_world


def test_a_prompt_is_shown_as_it_is_whatever_is_in_it(ladle, failed):
    result = ladle("jobs")
    assert result.exit_code == 0, result.output
    assert SHOWN in result.output


def test_so_are_prompt_failure_and_reasons_of_one_job(ladle, failed):
    result = ladle("jobs", "job-1")
    assert result.exit_code == 0, result.output
    assert result.output.count("[/b] a") == 3
    assert "\x1b" not in result.output


def test_an_id_is_never_cut_and_the_prompt_gives_way(ladle, planner_world):
    long = "order-" + "7" * 100
    planner_world.submit(long, request={"prompt": "a red heart " * 20})
    planner_world.submit("01890a5d-ac96-774b-bcce-b302099a8057", request={"prompt": "a red\nheart " * 20})
    output = ladle("jobs").output
    assert long in output
    assert len([line for line in output.splitlines() if "WAITING" in line]) == 3  # two jobs and the totals
    assert "a r" in output
    assert "…" in output
