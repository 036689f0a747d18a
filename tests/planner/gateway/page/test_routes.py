"""The page's own routes: what anybody gets, and what a browser that has signed in gets."""

from __future__ import annotations

import pytest
from gateway_server import serving

from planner.gateway.keys import key_file

PNG = b"\x89PNG"


@pytest.fixture
def drawn(gateway, site):
    """The id of a job that is done."""
    job = gateway.ask("/jobs", {"prompt": "a drawn heart", "seed": 7, "num_inference_steps": 4}).json["job"]
    site.wait_for_state(job, "DONE")
    return job


def test_the_page_runs_no_script_but_its_own_and_loads_nothing_from_elsewhere(settings):
    with serving(settings) as gateway:
        page = gateway.ask("/", accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    text = page.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert " style=" not in text
    assert " onclick=" not in text


def test_files_come_with_their_types_and_nothing_else_is_served(settings):
    with serving(settings) as gateway:
        assert "javascript" in gateway.ask("/static/page.js").headers["content-type"]
        assert gateway.ask("/static/page.css").headers["content-type"].startswith("text/css")
        for path in ("/static/../routes.py", "/static/%2e%2e/routes.py", "/static/none.js", "/static/"):
            assert gateway.ask(path).status == 404


def test_a_key_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_gets(settings):
    key = key_file(settings).add("ann", may_operate=True)
    with serving(settings) as gateway:
        assert gateway.ask("/page/session").status == 401
        refused = gateway.ask("/page/session", {"key": "ladle-wrong"}, origin=gateway.url)
        assert (refused.status, "set-cookie" in refused.headers) == (401, False)
        answer = gateway.ask("/page/session", {"key": key}, origin=gateway.url)
        cookie = answer.headers["set-cookie"]
        assert key not in cookie
        for rule in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert rule in cookie
        who = gateway.ask("/page/session", cookie=cookie.partition(";")[0]).json
        assert (who["name"], who["may_operate"], who["may_high"], who["signed_in"]) == ("ann", True, False, True)


def test_only_the_gateways_own_page_may_sign_in_and_out(settings):
    key = key_file(settings).add("ann")
    with serving(settings) as gateway:
        assert gateway.ask("/page/session", {"key": key}, origin="http://evil.example").status == 403
        cookie = gateway.ask("/page/session", {"key": key}).headers["set-cookie"].partition(";")[0]
        assert gateway.ask("/page/session", method="DELETE", cookie=cookie).status == 403
        gone = gateway.ask("/page/session", method="DELETE", cookie=cookie, origin=gateway.url)
        assert 'ladle_session=""' in gone.headers["set-cookie"]


def test_the_page_learns_models_with_their_defaults_and_limits(gateway, site):
    who = gateway.ask("/page/session").json
    assert set(who["models"]) >= {"tiny"}
    assert who["limits"] == {"images": 16, "image_steps": 500, "megapixels": 4.2}
    assert (who["name"], who["signed_in"]) == ("local", False)


def test_the_gallery_has_images_with_the_fields_that_draw_them_again(gateway, drawn):
    entry = next(job for job in gateway.ask("/page/gallery").json["jobs"] if job["job"] == drawn)
    assert (entry["mine"], entry["seeds"], entry["node"]) == (True, [7], "a")
    again = gateway.ask("/jobs", entry["fields"])
    assert again.status == 202
    assert entry["fields"] | {"prompt": "a drawn heart", "size": "64x64", "num_inference_steps": 4} == entry["fields"]
    assert gateway.ask(f"/images/{drawn}/0.png").body.startswith(PNG)


def test_the_gallery_goes_back_in_time(gateway, drawn):
    newest = gateway.ask("/page/gallery").json["jobs"][0]
    older = gateway.ask(f"/page/gallery?before={newest['created_at']}").json["jobs"]
    assert newest["job"] not in {job["job"] for job in older}
    assert gateway.ask("/page/gallery?before=yesterday").status == 422
    assert gateway.ask("/page/gallery?before=nan").status == 422


def test_an_image_is_varied_by_another_job_that_starts_from_it(gateway, site, drawn):
    varied = gateway.ask("/page/vary", {"prompt": "a heart", "strength": 0.4, "from": {"job": drawn, "index": 0}})
    assert varied.status == 202
    job = varied.json["job"]
    site.wait_for_state(job, "DONE")
    (row,) = site.rows(job)
    assert row["request"]["strength"] == 0.4
    assert row["request"]["image"]


@pytest.mark.parametrize(
    ("source", "status"),
    [
        (None, 422),
        ("0", 422),
        ({"job": 1, "index": 0}, 422),
        ({"job": "x"}, 422),
        ({"job": "x", "index": True}, 422),
        ({"job": "http.local.0", "index": 0}, 404),
    ],
)
def test_what_names_no_image_is_not_varied(gateway, source, status):
    assert gateway.ask("/page/vary", {"prompt": "x", "from": source}).status == status


def test_an_image_that_a_job_has_not_is_not_varied(gateway, drawn):
    for index in (-1, 1):
        assert gateway.ask("/page/vary", {"prompt": "x", "from": {"job": drawn, "index": index}}).status == 404


def test_images_of_others_are_for_operators(site, drawn):
    with serving(site.settings, http_keys_file=str(site.folder / "page-keys.json")) as gateway:
        keys = key_file(site.settings.with_changes(http_keys_file=str(site.folder / "page-keys.json")))
        ann = f"Bearer {keys.add('ann')}"
        root = f"Bearer {keys.add('root', may_operate=True)}"
        assert drawn not in {job["job"] for job in gateway.ask("/page/gallery", authorization=ann).json["jobs"]}
        assert gateway.ask("/page/gallery?whose=all", authorization=ann).status == 403
        everybodys = gateway.ask("/page/gallery?whose=all", authorization=root).json["jobs"]
        assert drawn in {job["job"] for job in everybodys}
        assert gateway.ask(f"/images/{drawn}/0.png", authorization=ann).status == 404
        assert gateway.ask(f"/images/{drawn}/0.png", authorization=root).body.startswith(PNG)
        vary = {"prompt": "x", "from": {"job": drawn, "index": 0}}
        assert gateway.ask("/page/vary", vary, authorization=ann).status == 404


def test_without_a_ledger_the_gallery_says_what_it_lacks(settings):
    with serving(settings) as gateway:
        answer = gateway.ask("/page/gallery")
    assert (answer.status, answer.error["code"]) == (501, "no_ledger")
    assert "LADLE_DATABASE_URL" in answer.error["message"]


def test_a_page_from_elsewhere_varies_nothing(settings):
    with serving(settings) as gateway:
        assert gateway.ask("/page/vary", {"prompt": "x"}, origin="http://localhost:1").status == 403
