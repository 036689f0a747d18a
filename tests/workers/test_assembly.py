"""From settings to an engine."""

from __future__ import annotations

import pytest

from broker_config.errors import ConfigurationError
from broker_config.settings import Settings
from workers.assembly import make_engine
from workers.emulated import EmulatedEngine


def test_an_emulated_engine_says_so():
    engine, emulated = make_engine(Settings(_env_file=None, engine="emulated", emulated_s_per_unit=2.5))
    assert isinstance(engine, EmulatedEngine)
    assert "2.5 s" in emulated


@pytest.mark.parametrize("device", ["cuda:99", "mps:99", "foo"])
def test_a_device_that_torch_cannot_use_is_one_sentence_with_the_reason(device):
    with pytest.raises(ConfigurationError, match=rf"^device '{device}': .+") as refused:
        make_engine(Settings(_env_file=None, device=device))
    assert "\n" not in str(refused.value)
