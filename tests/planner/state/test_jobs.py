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


def test_from_a_picture_only_the_image_steps_that_run_are_work():
    plain = job("a", 1, steps=10).request
    for strength, run in ((0.3, 3), (0.9, 9), (1.0, 10), (None, 6)):
        of_picture = plain.model_copy(update={"image": "AAAA", "strength": strength})
        assert units_of(of_picture) == run * 1.0 * 2
