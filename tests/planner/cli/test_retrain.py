"""`ladle retrain` before it begins; whole rounds are in tests/rl_agent/retraining."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-1m", "2d", "1e3s"])
def test_what_is_no_duration_is_refused_with_examples(ladle, text):
    result = ladle("retrain", "--every", text)
    assert result.exit_code == 2
    assert f"{text!r} is no duration such as 90s, 10m or 2h" in " ".join(result.output.replace("│", "").split())
