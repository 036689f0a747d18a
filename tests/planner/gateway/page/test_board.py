"""The board: read at most about once a second, whoever looks."""

from __future__ import annotations

import asyncio

import pytest
from planner_world import World
from sqlalchemy import event

from planner.gateway.page import board as board_module
from planner.gateway.page.board import NO_LEDGER, BoardReader
from planner.ledger.ledger import Ledger


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    monkeypatch.setattr(board_module.time, "time", lambda: world.clock.time_s)
    world.up("a")
    return world


def look(reader):
    reader.look_again()
    return asyncio.run(reader.look())


def test_without_a_ledger_it_says_so_and_creates_none(tmp_path):
    reader = BoardReader(Ledger(f"sqlite:///{tmp_path}/none.db"))
    assert look(reader).lack == NO_LEDGER
    assert not (tmp_path / "none.db").exists()
    reader.ledger.close()


def test_a_ledger_that_appears_is_found(tmp_path):
    reader = BoardReader(Ledger(f"sqlite:///{tmp_path}/later.db"))
    assert look(reader).lack
    reader.ledger.migrate()
    assert look(reader).lack == ""
    reader.ledger.close()


def test_a_damaged_ledger_is_no_error_but_a_lack(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"no database " * 1000)
    reader = BoardReader(Ledger(f"sqlite:///{tmp_path}/broken.db"))
    assert "does not answer" in look(reader).lack
    reader.ledger.close()


def test_many_who_look_at_once_are_one_reading(world):
    statements = []
    event.listen(world.ledger._engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    reader = BoardReader(world.ledger)

    async def all_look():
        return await asyncio.gather(*(reader.look() for _ in range(20)))

    boards = asyncio.run(all_look())
    assert len({id(board) for board in boards}) == 1
    assert sum("FROM node" in statement for statement in statements) == 1


def test_it_holds_what_nodes_hold_and_what_was_closed(world):
    reader = BoardReader(world.ledger)
    world.submit_many(3)
    world.draw("a")
    board = look(reader)
    assert [row["job"] for row in board.held] == ["job-1", "job-2"]
    assert list(board.closed) == [("job-0", 1)]
    assert reader.facts["job-0"]["prompt"]
    assert board.counts == {"PLACED": 2}


def test_the_timeline_is_read_on_from_where_it_ended_and_forgets_what_is_old(world):
    reader = BoardReader(world.ledger)
    world.submit_many(3)
    world.draw("a")
    assert list(look(reader).closed) == [("job-0", 1)]
    world.pause(board_module.OVERLAP_S + 1)
    world.draw("a")
    assert list(look(reader).closed) == [("job-0", 1), ("job-1", 1)]
    world.pause(board_module.TIMELINE_S - 2)
    assert list(look(reader).closed) == [("job-1", 1)]


def test_each_sees_own_jobs_and_operators_those_of_others(world):
    reader = BoardReader(world.ledger)
    world.submit("http.ann.1")
    world.submit("http.bob.1")
    mine = asyncio.run(reader.jobs_of("http.ann.", sees_others=False))
    assert ([row["id"] for row in mine.mine], list(mine.others)) == (["http.ann.1"], [])
    operator = asyncio.run(reader.jobs_of("http.ann.", sees_others=True))
    assert [row["id"] for row in operator.others] == ["http.bob.1"]


def test_facts_are_kept_for_so_many_jobs_only(world, monkeypatch):
    monkeypatch.setattr(board_module, "MAX_FACTS", 2)
    reader = BoardReader(world.ledger)
    world.submit_many(3)
    asyncio.run(reader.jobs_of("", sees_others=False))
    assert len(reader.facts) == 2
