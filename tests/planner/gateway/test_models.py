"""Which models may be named."""

from __future__ import annotations

import asyncio

import pytest
from planner_world import World

from planner.gateway.models import ServedModels, models_of
from planner.ledger.ledger import Ledger


@pytest.fixture
def names(settings):
    def read(**changes):
        changed = settings.with_changes(**changes)
        ledger = Ledger(changed.database)
        try:
            return asyncio.run(ServedModels(changed, ledger).names())
        finally:
            ledger.close()

    return read


def row(state="READY", **report):
    return {"state": state, "report": report}


def test_without_a_ledger_the_models_of_the_settings_are_offered_the_default_one_first(names):
    assert names(models="zebra, ant", default_model="tiny") == ("tiny", "ant", "zebra")


def test_a_ledger_that_cannot_be_reached_is_none(names):
    assert names(database_url="postgresql://nobody@127.0.0.1:9/x") == ("tiny",)


def test_the_models_of_the_nodes_are_offered(settings, names):
    world = World(ledger=Ledger(settings.database))
    world.up("a", models=["big", "small"])
    world.ledger.close()
    assert names(models="unused") == ("tiny", "big", "small")


def test_a_model_has_the_adapters_of_the_nodes_that_serve_it(settings):
    world = World(ledger=Ledger(settings.database))
    pixel, ink = {"pixel": {"mib": 1.0}}, {"ink": {"mib": 1.0}}
    world.up("a", models=["big"], abilities={"adapters": pixel})
    world.up("b", models=["big", "small"], abilities={"adapters": ink})
    world.up("c", models=["other"], abilities={"adapters": None})
    offered = asyncio.run(ServedModels(settings, world.ledger).with_adapters())
    world.ledger.close()
    assert offered == {"tiny": (), "big": ("ink", "pixel"), "other": (), "small": ("ink",)}


def test_a_node_offers_what_it_serves_has_loaded_or_measured():
    assert models_of(row(models=["a"], resident=["b"], speeds={"c": {}})) == {"a", "b", "c"}
    assert models_of(row("DRAINING", models=None)) == set()


@pytest.mark.parametrize("state", ["GONE", "UNFIT"])
def test_a_node_that_does_not_serve_offers_nothing(state):
    assert models_of(row(state, models=["a"])) == set()


def test_the_models_are_read_once_in_a_while(settings, monkeypatch):
    ledger = Ledger(settings.database)
    models = ServedModels(settings, ledger)
    reads = []
    monkeypatch.setattr(models, "_read", lambda: reads.append(1) or {"tiny": ()})

    async def ask_often():
        return [await models.names() for _ in range(3)]

    assert asyncio.run(ask_often()) == [("tiny",)] * 3
    assert len(reads) == 1
    ledger.close()
