"""From settings to an engine."""

from __future__ import annotations

from broker_config.settings import Settings
from workers.assembly import make_engine
from workers.emulated import EmulatedEngine


def test_an_emulated_engine_says_so():
    engine, emulated = make_engine(Settings(_env_file=None, engine="emulated", emulated_s_per_unit=2.5))
    assert isinstance(engine, EmulatedEngine)
    assert "2.5 s" in emulated
