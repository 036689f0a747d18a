"""Who may see what of a board."""

from __future__ import annotations

import asyncio
import json

import pytest
from planner_world import World

from planner.gateway.keys import Owner
from planner.gateway.page import board as board_module
from planner.gateway.page import views
from planner.gateway.page.board import NO_LEDGER, Board, BoardReader, OwnJobs
from planner.ledger.ledger import Ledger

ANN = Owner(name="ann", sha256="1")
OPERATOR = Owner(name="root", sha256="2", may_operate=True)
SECRET = "the prompt of somebody else"


class Scene:
    """A world, and what the page makes of it."""

    def __init__(self, world):
        self.world, self.reader = world, BoardReader(world.ledger)

    def board(self) -> Board:
        self.reader.look_again()
        return asyncio.run(self.reader.look())

    def queue(self, owner):
        prefix = f"http.{owner.name}."
        jobs = asyncio.run(self.reader.jobs_of(prefix, sees_others=owner.may_operate))
        return views.queue_view(self.board(), jobs, self.reader.facts, prefix)

    def timeline(self, owner):
        return views.timeline_view(self.board(), self.reader.facts, owner, f"http.{owner.name}.")

    def all(self, owner):
        board = self.board()
        return [
            self.queue(owner),
            self.timeline(owner),
            views.nodes_view(board, owner),
            views.policy_view(board),
            views.dead_view(board, owner),
        ]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    world = World(ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    monkeypatch.setattr(board_module.time, "time", lambda: world.clock.time_s)
    world.up("a", device="cuda:0", resident=["tiny"])
    world.submit("http.ann.1", request={"prompt": "a heart"})
    world.submit("http.bob.1", request={"prompt": SECRET})
    world.submit("0199", client="alice.5f2c", request={"prompt": SECRET})
    return Scene(world)


def test_without_a_ledger_each_panel_says_what_it_lacks():
    board = Board(lack=NO_LEDGER)
    for view in (
        views.queue_view(board, OwnJobs(), {}, "http.ann."),
        views.nodes_view(board, ANN),
        views.policy_view(board),
        views.dead_view(board, OPERATOR),
    ):
        assert "LADLE_DATABASE_URL" in view["lack"]


def test_others_are_counts_only(scene):
    queue = scene.queue(ANN)
    assert queue["mine"] == {"PLACED": 1}
    assert queue["others"] == {"PLACED": 1, "WAITING": 1}
    assert [(job["job"], job["prompt"]) for job in queue["jobs"]] == [("http.ann.1", "a heart")]
    assert queue["others_jobs"] == []


def test_nothing_of_anothers_job_is_told_wherever_it_shows(scene):
    scene.world.draw("a")
    scene.world.draw("a")
    told = json.dumps(scene.all(ANN))
    assert SECRET not in told
    assert "http.bob" not in told
    assert "alice" not in told


def test_an_operator_sees_whose_jobs_they_are(scene):
    others = scene.queue(OPERATOR)["others_jobs"]
    assert {(job["owner"], job["prompt"]) for job in others} == {("ann", "a heart"), ("bob", SECRET), ("alice", SECRET)}


def test_the_planner_runs_as_long_as_it_ticks(scene):
    scene.world.tick()
    assert scene.queue(ANN)["planner_runs"]
    scene.world.pause(views.SILENT_AFTER_S + 1)
    queue = scene.queue(ANN)
    assert not queue["planner_runs"]
    assert queue["planner_seen_at"] is not None


def test_a_node_tells_its_state_memory_estimate_and_backlog(scene):
    (node,) = views.nodes_view(scene.board(), ANN)["nodes"]
    assert (node["name"], node["state"], node["device"], node["resident"]) == ("a", "READY", "cuda:0", ["tiny"])
    assert node["held"] == 2
    assert node["free_at"] > scene.world.clock.time_s
    scene.world.draw("a")
    (node,) = views.nodes_view(scene.board(), ANN)["nodes"]
    (estimate,) = node["estimates"]
    assert estimate["model"] == scene.world.row("http.ann.1")["model"]
    assert estimate["s_per_unit"] > 0.0


def test_what_is_wrong_with_a_node_is_told_to_operators(scene):
    scene.world.report("a", state="unfit", reason="/home/ann/models is empty")
    assert "note" not in views.nodes_view(scene.board(), ANN)["nodes"][0]
    assert "is empty" in views.nodes_view(scene.board(), OPERATOR)["nodes"][0]["note"]


def test_an_idle_node_has_no_backlog(scene):
    for _ in range(3):
        scene.world.draw("a")
    (node,) = views.nodes_view(scene.board(), ANN)["nodes"]
    assert (node["held"], node["free_at"]) == (0, None)


def test_nodes_that_are_long_gone_are_left_out(scene):
    scene.world.die("a")
    scene.world.tick(20)
    assert [node["state"] for node in views.nodes_view(scene.board(), ANN)["nodes"]] == ["GONE"]
    scene.world.pause(views.LONG_GONE_S + 1)
    view = views.nodes_view(scene.board(), ANN)
    assert (view["nodes"], view["hidden"]) == ([], 1)


def test_the_timeline_has_a_bar_for_what_is_drawn_and_for_what_was(scene):
    scene.world.start("a")
    scene.world.report("a")
    (bar,) = scene.timeline(ANN).values()
    assert (bar["mine"], bar["ended"], bar["prompt"]) == (True, None, "a heart")
    scene.world.tick(2)
    scene.world.finish("a")
    scene.world.record()
    bars = scene.timeline(ANN)
    assert bars["http.ann.1/1"]["result"] == "done"
    assert bars["http.ann.1/1"]["ended"] is not None


def test_a_lost_attempt_is_a_bar_too(scene):
    scene.world.start("a")
    scene.world.report("a")
    scene.world.die("a")
    scene.world.tick(20)
    assert scene.timeline(ANN)["http.ann.1/1"]["result"] == "lost"


def test_bars_of_others_have_no_names_and_keep_their_key(scene):
    scene.world.draw("a")
    scene.world.start("a")
    scene.world.report("a")
    (drawing,) = (key for key in scene.timeline(ANN) if "ann" not in key)
    scene.world.finish("a")
    scene.world.record()
    bar = scene.timeline(ANN)[drawing]
    assert bar.keys() == {"node", "began", "ended", "result", "mine"}


def test_the_policy_tells_who_decided_lately(scene):
    scene.world.draw("a")
    view = views.policy_view(scene.board())
    assert view["deciders"] == [{"placer": "least-backlog", "version": "", "attempts": 1}]
    assert (view["versions"], view["before"]) == ([], None)


def test_dead_letters_are_for_operators(scene):
    scene.world.bury(scene.world.start("a"))
    board = scene.board()
    assert "--may-operate" in views.dead_view(board, ANN)["lack"]
    view = views.dead_view(board, OPERATOR)
    assert view["count"] == 1
    assert view["letters"][0]["jobs"] == ["http.ann.1"]


@pytest.mark.parametrize(
    ("job", "client", "name"),
    [
        ("http.ann.0199", "c0ffee", "ann"),
        ("web.http.ann.0199", "web.c0ffee", "ann"),
        ("0199", "alice.c0ffee", "alice"),
        ("0199", "c0ffee1234567890", "client c0ffee12"),
    ],
)
def test_an_owner_is_called_by_its_key_or_its_user(job, client, name):
    assert views.whose_name(job, client) == name


def test_a_node_tells_its_adapters_and_memory_where_it_reports_them(scene):
    (node,) = views.nodes_view(scene.board(), ANN)["nodes"]
    assert (node["adapters"], node["loaded_adapters"], node["memory_mib"]) == ([], [], None)
    sketch = {"mib": 1.0}
    abilities = {"adapters": {"sketch": sketch}, "loaded_adapters": {"tiny": ["sketch"]}, "memory_mib": 8192.0}
    scene.world.up("b", abilities=abilities)
    node = views.nodes_view(scene.board(), ANN)["nodes"][1]
    assert (node["adapters"], node["loaded_adapters"], node["memory_mib"]) == (["sketch"], ["sketch"], 8192.0)
