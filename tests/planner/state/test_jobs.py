"""One open job: its work, its row."""

from __future__ import annotations

from image_requests import an_image_request

from broker_config.messages import Submission
from planner.state.jobs import LiveJob, units_of


def job(name, order, model="tiny", steps=10):
    request = an_image_request(model=model, width_px=1000, height_px=1000, num_inference_steps=steps, n=2)
    live = LiveJob.of(Submission(job=name, client="c", request=request, labels={"album": "spring"}), 0.0)
    live.order = (1, order, name)
    return live


def test_work_is_counted_in_megapixel_steps():
    assert units_of(job("a", 1).request) == 10 * 1.0 * 2


def test_a_job_survives_its_row():
    live = job("a", 1.0)
    again = LiveJob.from_row({**live.row(), "request": live.row()["request"]})
    again.order = live.order
    assert again == live


def test_a_row_of_an_older_ladle_has_no_labels():
    assert LiveJob.from_row({**job("a", 1.0).row(), "labels": None}).labels == {}
