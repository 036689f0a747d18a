"""One node at work: exactly one outcome for each assignment, whatever happens to it."""

from __future__ import annotations

import base64
import io
import time
from datetime import datetime
from typing import ClassVar

import pytest
from fake_engine import FakeEngine
from image_requests import an_image_request
from ladle_site import wait_until
from PIL import Image
from prometheus_client import CollectorRegistry

from broker_config.calls import Tell
from broker_config.errors import BrokerUnavailableError
from broker_config.memory_publisher import MemoryPublisher
from broker_config.messages import Assignment, ModelSpeed
from broker_config.settings import Settings
from workers.done_ledger import DoneLedger
from workers.errors import BadRequestError, ModelMissingError, OutOfMemoryError
from workers.image_store import ImageStore
from workers.metrics import WorkerCounts
from workers.node import NodeWorker


class Bench:
    """A node without a broker, and what it sent. The ledgers of its processes are closed with the test."""

    opened: ClassVar[list[DoneLedger]] = []

    def __init__(self, folder, engine=None, **changes):
        self.engine = engine or FakeEngine()
        self.settings = Settings(_env_file=None, data_dir=folder, **changes)
        self.publisher, self.reports = MemoryPublisher(), MemoryPublisher()
        self.folder = folder
        self.start()

    def start(self, **changes):
        """The worker process starts (again)."""
        self.registry = CollectorRegistry()
        self.opened.append(DoneLedger(self.folder / "done.db"))
        self.node = NodeWorker(
            **{
                "name": "a",
                "settings": self.settings,
                "engine": self.engine,
                "publisher": self.publisher,
                "reporter_publisher": self.reports,
                "done": self.opened[-1],
                "store": ImageStore(self.settings.store, inline_mib=self.settings.message_limit_mib),
                "speeds": {"tiny": ModelSpeed(load_s=1, s_per_unit=1)},
                "problems": [],
                "counts": WorkerCounts(self.registry),
                **changes,
            }
        )

    def run(self, job="job-1", attempt=1, deliveries=0, limit_s=60.0, **request):
        request = an_image_request(seed=7, **request)
        assignment = Assignment(job=job, attempt=attempt, node="a", client="c", request=request, limit_s=limit_s)
        self.node.run(assignment, deliveries)
        return self.outcomes[-1]

    @property
    def outcomes(self):
        return [post.body["outcome"] for post in self.publisher.sent]


@pytest.fixture(autouse=True)
def _ledgers_are_closed():
    yield
    while Bench.opened:
        Bench.opened.pop().close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.node.end()


def test_an_outcome_has_images_seeds_timings_and_what_is_resident(bench):
    outcome = bench.run(n=2)
    assert outcome["result"] == "done"
    assert [image["seed"] for image in outcome["images"]] == [7, 8]
    picture = Image.open(io.BytesIO(base64.b64decode(outcome["images"][1]["data"])))
    assert picture.getpixel((0, 0)) == (8, 0, 0)
    assert outcome["timings"]["load_s"] == 0.25
    assert outcome["resident"] == ["tiny"]
    assert outcome["warnings"] == ["careful"]
    assert bench.publisher.sent[0].routing_key == "outcome.a.done"


def test_a_report_tells_what_the_node_can_do(bench):
    assert bench.node.report().abilities.adapters["sketch"].mib == 1.5
    bench.run(adapters={"sketch": 0.5})
    assert bench.node.report().abilities.loaded_adapters == {"tiny": ("sketch",)}


def test_loading_adapters_counts_as_loading(bench):
    outcomes = [bench.run(f"job-{i}", adapters={"sketch": 1.0}) for i in range(2)]
    assert [outcome["timings"]["load_s"] for outcome in outcomes] == [0.375, 0.0]
    assert [outcome["adapters_load_s"] for outcome in outcomes] == [0.125, 0.0]


def test_each_image_says_how_it_came_to_be_unless_the_node_is_told_not_to(bench, tmp_path):
    def texts(outcome):
        pictures = [Image.open(io.BytesIO(base64.b64decode(image["data"]))) for image in outcome["images"]]
        return [picture.text.get("parameters") for picture in pictures]

    said = "a red heart\nNegative prompt: rain\nSteps: 8, CFG scale: 2, Seed: {}, Size: 64x64, Model: tiny"
    assert texts(bench.run(n=2, negative_prompt="rain")) == [said.format(7), said.format(8)]
    alone = bench.run("job-2", negative_prompt="rain")
    assert alone["images"][0] == bench.outcomes[0]["images"][0]
    silent = Bench(tmp_path / "silent", provenance=False)
    assert texts(silent.run()) == [None]
    silent.node.end()


def test_a_repeated_assignment_is_answered_and_not_drawn_again(bench):
    first = bench.run()
    assert bench.run() == first
    assert len(bench.engine.drawn) == 1
    bench.run(attempt=2)
    assert len(bench.engine.drawn) == 2


def test_a_restarted_worker_remembers_what_it_finished(bench):
    first = bench.run()
    bench.node.end()
    bench.start()
    assert bench.run() == first
    assert len(bench.engine.drawn) == 1


def test_an_outcome_that_cannot_be_sent_is_kept_for_the_next_delivery(bench):
    bench.publisher.failures = 1
    with pytest.raises(BrokerUnavailableError):
        bench.run()
    bench.run()
    assert len(bench.outcomes) == 1
    assert len(bench.engine.drawn) == 1


def test_a_withdrawn_job_stops_at_its_next_image_step(tmp_path):
    steps = []

    def before(step):
        steps.append(step)
        if step == 3:
            bench.node.withdraw([("job-1", 1)])

    bench = Bench(tmp_path, FakeEngine(before))
    assert bench.run(num_inference_steps=8)["result"] == "cancelled"
    assert steps == [1, 2, 3]
    assert bench.run("job-2")["result"] == "done"


def test_a_job_withdrawn_before_it_began_is_not_drawn(bench):
    bench.node.withdraw([("job-1", 1)])
    assert bench.run()["result"] == "cancelled"
    assert bench.engine.drawn == []
    assert bench.run(attempt=2)["result"] == "done"


def test_a_job_that_takes_too_long_fails_at_its_next_image_step(tmp_path):
    bench = Bench(tmp_path, FakeEngine(lambda step: time.sleep(0.02)))
    outcome = bench.run(limit_s=0.05, num_inference_steps=100)
    assert outcome["failure"]["kind"] == "time_limit"
    assert "LADLE_ATTEMPT_LIMIT_S" in outcome["failure"]["message"]


def test_a_stopping_worker_finishes_within_its_grace(tmp_path):
    bench = Bench(tmp_path, FakeEngine(lambda step: step == 1 and bench.node.begin_shutdown()), grace_s=60)
    assert bench.run()["result"] == "done"
    assert bench.node.report().state == "draining"


def test_after_its_grace_a_stopping_worker_gives_the_job_back(tmp_path):
    def before(step):
        if step == 1:
            bench.node.begin_shutdown()
        time.sleep(0.01)

    bench = Bench(tmp_path, FakeEngine(before), grace_s=0.02)
    assert bench.run(num_inference_steps=100)["result"] == "returned"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequestError("size", "odd"), "bad_request"),
        (OutOfMemoryError("tiny", "full"), "out_of_memory"),
        (ModelMissingError("tiny", "gone"), "model_missing"),
        (RuntimeError("surprise"), "internal"),
        (MemoryError("host"), "internal"),
    ],
)
def test_each_class_of_error_becomes_a_failure_of_its_kind_and_the_node_lives(tmp_path, error, kind):
    bench = Bench(tmp_path, FakeEngine(error=error))
    outcome = bench.run()
    assert outcome["result"] == "failed"
    assert outcome["failure"]["kind"] == kind
    assert outcome["failure"]["message"]
    bench.engine.error = None
    assert bench.run("job-2")["result"] == "done"


def test_a_model_that_cannot_be_loaded_fails_the_job_only(tmp_path):
    bench = Bench(tmp_path, FakeEngine(load_error=ModelMissingError("x", "gone")))
    assert bench.run(model="x")["failure"]["kind"] == "model_missing"


def test_a_message_that_killed_the_process_too_often_is_not_drawn_again(bench):
    assert bench.run(deliveries=3)["result"] == "done"
    outcome = bench.run("job-2", deliveries=4)
    assert outcome["failure"]["kind"] == "worker_died"
    assert len(bench.engine.drawn) == 1


@pytest.mark.fault(2, "B")
def test_a_job_that_kills_the_process_ends_whatever_the_broker_counts(tmp_path):
    killed = Bench(tmp_path, FakeEngine(error=KeyboardInterrupt()))  # as good as a kill: nothing is kept of the attempt
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            killed.run(deliveries=0)
    killed.node.end()
    restarted = Bench(tmp_path)
    outcome = restarted.run(deliveries=0)
    assert outcome["failure"]["kind"] == "worker_died"
    assert "died 4 times" in outcome["failure"]["message"]
    assert restarted.engine.drawn == []


def test_a_large_image_leaves_through_the_store(tmp_path):
    bench = Bench(tmp_path, message_limit_mib=1e-6)
    (image,) = bench.run()["images"]
    assert "data" not in image
    assert (tmp_path / "images/job-1/1-0.png").exists()


def test_a_store_that_cannot_be_written_fails_the_attempt_with_the_reason(tmp_path):
    (tmp_path / "images").write_text("in the way")
    outcome = Bench(tmp_path, message_limit_mib=1e-6).run()
    assert outcome["failure"]["kind"] == "internal"
    assert outcome["failure"]["message"]


def test_what_cannot_be_read_goes_to_the_dead_letters_under_its_id(bench):
    bench.node.bury("job-1/1", "malformed")
    (post,) = bench.publisher.sent
    assert (post.exchange, post.routing_key) == ("ladle.dead", "dead.node.a")
    assert post.body["headers"] == {"task": "workers.generate", "id": "job-1/1"}


def test_a_node_without_any_working_model_reports_itself_unfit(bench):
    bench.start(speeds={}, problems=["model 'x' cannot be loaded"])
    report = bench.node.report()
    assert (report.state, report.reason) == ("unfit", "model 'x' cannot be loaded")


def test_a_node_with_some_working_model_serves_that_one_only(bench):
    bench.start(problems=["model 'x' cannot be loaded"])
    assert bench.node.report().state == "ready"
    assert bench.node.report().models == ("tiny",)


def test_an_idle_node_reports_that_nothing_is_in_memory_any_more(tmp_path):
    bench = Bench(tmp_path, idle_unload_s=0.05)
    bench.run()
    wait_until(lambda: bench.node.report().resident == (), "an empty memory")
    outcome = bench.run("job-2")
    assert (outcome["result"], outcome["timings"]["load_s"]) == ("done", 0.25)
    bench.node.end()


def test_outside_its_hours_a_node_begins_nothing_and_says_when_it_will(tmp_path):
    clock = [datetime(2026, 11, 27, 7, 59, 30)]
    bench = Bench(tmp_path, FakeEngine(lambda step: clock.append(datetime(2026, 11, 27, 8, 0))), hours="22:00-08:00")
    bench.start(now=lambda: clock[-1])
    report = bench.node.report()
    assert (report.state, report.reason, report.closes_in_s) == ("ready", "", 30.0)
    assert bench.run()["result"] == "done"  # it was under way when they ended
    report = bench.node.report()
    assert (report.state, report.closes_in_s) == ("draining", None)
    assert report.reason == "begins jobs at 22:00-08:00 only (LADLE_HOURS)"
    assert bench.run("job-2")["result"] == "returned"
    assert len(bench.engine.drawn) == 1
    clock.append(datetime(2026, 11, 27, 22, 0))
    assert bench.node.report().state == "ready"
    assert bench.run("job-2", attempt=2)["result"] == "done"


def test_a_report_says_what_runs(tmp_path):
    reports = []
    bench = Bench(tmp_path, FakeEngine(lambda step: reports.append(bench.node.report())))
    bench.run(num_inference_steps=3)
    said = [(report.running, report.image_step, report.image_steps) for report in reports]
    assert said == [(("job-1", 1), 0, 0), (("job-1", 1), 1, 3), (("job-1", 1), 2, 3)]
    assert bench.node.report().running is None


def test_progress_of_a_job_that_starts_from_a_picture_counts_the_image_steps_that_run(bench):
    bench.node.reporter.start()
    bench.run(num_inference_steps=8, image="AAAA", strength=0.5)

    def said():
        events = [event for post in bench.reports.sent if "events" in post.body for event in Tell.read(post.body)]
        return [(event.kind, event.step, event.image_steps) for event in events]

    wait_until(lambda: ("step", 4, 4) in said(), "the last image step")
    assert said()[0] == ("started", 0, 4)


def test_an_end_before_any_beginning_is_harmless(bench):
    bench.node.end()
    bench.start()


def test_a_worker_says_whether_it_could_write_to_its_store(bench, tmp_path):
    assert bench.node.report().wrote_token
    assert (tmp_path / "images/.nodes/a").read_text() == bench.node.report().instance


def test_an_attempt_is_counted_once_however_often_it_is_delivered(bench):
    bench.run()
    bench.run(deliveries=1)
    assert bench.registry.get_sample_value("ladle_worker_outcomes_total", {"result": "done", "kind": ""}) == 1
    assert bench.registry.get_sample_value("ladle_worker_image_steps_total") > 0
