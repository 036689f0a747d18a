"""The page in a real browser, over a planner and emulated nodes: what a person does there, and sees."""

from __future__ import annotations

import os

import browser as browser_module
import pytest
from browser import PHONE_PX, Browser
from gateway_server import serving
from ladle_site import Site
from selenium.webdriver.common.keys import Keys

from broker_config.messages import Priority
from planner.gateway.keys import key_file

SLOW = {"size": "512x512", "num_inference_steps": "40"}  # 10 s on these nodes
SHORT = {"size": "64x64", "num_inference_steps": "4"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("page-site"))
    site.start("a", "b")
    for node in ("a", "b"):
        site.wait_for_node(node, "READY")
    yield site
    site.stop()


@pytest.fixture(scope="module")
def window():
    if lacks := browser_module.missing():
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"CI=true, and there is no {lacks}: install chromium and chromium-driver")
        pytest.skip(f"no {lacks} is installed")
    window = Browser()
    yield window
    window.quit()


@pytest.fixture
def gateway(site):
    with serving(site.settings) as gateway:
        yield gateway


@pytest.fixture
def page(window, gateway):
    """The page of a gateway without keys, as somebody opens it who was never there."""
    window.forget(gateway.url)
    window.complaints()
    window.open(gateway.url)
    yield window
    assert window.complaints() == []


def order(page, prompt, **fields):
    """Fill in the form and send it by keyboard."""
    if fields and not page.run("return document.querySelector('#more').open"):
        page.click("#more summary")
    for name, text in fields.items():
        page.type(f"#order [name={name}]", text)
    page.type("#prompt", prompt)
    page.one("#prompt").send_keys(Keys.CONTROL, Keys.ENTER)


def end_all(page):
    """Cancel what is on its way, for the next test."""
    cancels = "[...document.querySelectorAll('#open-jobs button')].filter((one) => one.textContent === 'Cancel')"
    page.run(f"{cancels}.forEach((one) => one.click())")  # at once: a job that ends takes its button along
    page.gone("#open-jobs li")


def test_a_prompt_becomes_an_image_and_its_way_is_seen(page):
    order(page, "a red heart", **SLOW)
    card = page.see("#open-jobs li", "drawing on")
    assert "a red heart" in card
    page.see("#open-jobs .state", "of 40")
    assert "9 of 10 within" in page.see("#open-jobs .eta", "within")
    page.wait(lambda: page.run("return (document.querySelector('#open-jobs progress')?.value ?? 0) > 0"), "progress")
    shown = "return document.querySelector('#open-jobs .preview img')?.src.slice(0, 15) === 'data:image/jpeg'"
    page.wait(lambda: page.run(shown), "a preview")
    page.see("#images .caption", "a red heart")
    page.gone("#open-jobs li")
    page.wait(lambda: page.run("return document.querySelector('#images img').naturalWidth") == 512, "the image itself")
    assert page.run("return document.querySelector('#spoken').textContent") == "Drawn: a red heart"


def test_a_job_is_cancelled(page, site):
    order(page, "never to be seen", **SLOW)
    page.see("#open-jobs .state", "drawing on")
    page.click("#open-jobs button", "Cancel")
    page.gone("#open-jobs li")
    assert "never to be seen" not in page.texts("#images .caption")


def test_the_priority_of_a_job_that_waits_is_changed(page, site):
    for number in range(6):  # two nodes hold two each
        order(page, f"number {number}", **SLOW)
    page.see("#open-jobs .state", "jobs wait for 2 nodes")
    page.see("#open-jobs .state", "place 2 by age")
    waiting = page.all("#open-jobs select")[0]
    waiting.send_keys("low")
    job = page.run("return arguments[0].closest('li').querySelector('h3').textContent", waiting)
    page.wait(lambda: ("low", job) in {(r["priority"], r["prompt"]) for r in open_rows(site)}, "the new priority")
    end_all(page)


def open_rows(site):
    """Priority and prompt of the jobs that are open."""
    with site.ledger.transaction() as connection:
        rows = site.ledger.open_jobs(connection)
    return [{"priority": Priority(row["priority"]).name.lower(), "prompt": row["request"]["prompt"]} for row in rows]


def test_after_a_reload_the_job_is_still_on_its_way(page, gateway):
    order(page, "through a reload", **SLOW)
    page.see("#open-jobs .state", "drawing on")
    page.open(gateway.url)
    page.see("#open-jobs h3", "through a reload")
    page.see("#open-jobs .state", "of 40")
    page.see("#images .caption", "through a reload")


def test_a_node_dies_meanwhile_and_the_job_goes_to_another(page, site):
    order(page, "whatever happens", **SLOW)
    state = page.see("#open-jobs .state", "drawing on")
    first = state.split("drawing on ")[1][0]
    (other,) = {"a", "b"} - {first}
    site.running[first].kill()
    page.see("#open-jobs .state", f"drawing on {other}")
    page.see("#node-list li", "gone")
    page.see("#images .caption", "whatever happens")
    site.start_worker(first)
    site.wait_for_node(first, "READY")
    page.gone("#node-list li", "gone")


def test_an_image_is_drawn_again_varied_and_looked_at(page):
    order(page, "the original", seed="77", **SHORT)
    page.see("#images .caption", "the original")
    page.click("#images li:first-child .open")
    assert "77" in page.see("#viewer dl", "64x64")
    page.click("#viewer button", "Again")
    assert page.one("#prompt").get_attribute("value") == "the original"
    assert page.one("[name=seed]").get_attribute("value") == "77"
    page.click("#images li:first-child button", "Vary")
    page.see("#varied", "Starts from this image")
    page.one("#prompt").send_keys(Keys.CONTROL, "a")
    order(page, "the variation")
    page.see("#images .caption", "the variation")
    link = page.one("#images li:first-child a")
    assert link.get_attribute("download").startswith("the-variation-")
    assert link.get_attribute("href").endswith("/0.png")


def test_what_is_wrong_with_an_order_is_said_beside_the_field(page):
    order(page, "x", size="63x63")
    assert "size" in page.see("#order-problem", "size")
    field = page.one("#order [name=size]")
    assert field.get_attribute("aria-invalid") == "true"
    assert page.run("return document.activeElement.name") == "size"
    page.type("#order [name=size]", "64x64")
    page.one("#prompt").clear()
    page.one("#prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    page.see("#order-problem", "Say what to draw")


def test_the_fleet_is_seen_and_a_node_drained_and_used_again(page, site):
    order(page, "for the timeline", **SHORT)
    page.see("#images .caption", "for the timeline")
    node = page.see("#node-list li", "a")
    assert "megapixel step" in node
    page.wait(lambda: len(page.all("#lanes .bar.mine")) > 0, "a bar on the timeline")
    page.click("#as-list summary")
    page.see("#as-list li", "for the timeline")
    page.see("#policy", "decided")
    page.see("#dead", "None: every message was understood.")
    page.click("#node-list li:first-child button", "Drain")
    page.see("#node-list li:first-child .pill", "draining")
    page.click("#node-list li:first-child button", "Use again")
    page.see("#node-list li:first-child .pill", "ready")


def test_jobs_of_others_are_seen_and_cancelled_by_an_operator(page, site):
    with site.client() as client:
        client.submit(prompt="of somebody else", size="512x512", num_inference_steps=200)
        page.see("#others li", "of somebody else")
        page.click("#others button", "Cancel")
        page.gone("#others li", "of somebody else")


def test_dark_and_light_follow_the_system_until_the_button_says_otherwise(page, gateway):
    def brightness():
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")[:3])

    page.prefer("light")
    page.wait(lambda: brightness() > 600, "a light page")
    page.prefer("dark")
    page.wait(lambda: brightness() < 150, "a dark page")
    page.click("#theme")
    page.click("#theme")
    page.see("#theme", "light")
    page.wait(lambda: brightness() > 600, "a light page as the button says")
    page.open(gateway.url)
    page.wait(lambda: brightness() > 600, "a light page after a reload")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_either(page, theme):
    """The contrast of soft text, the weakest, on its card: 4.5 by WCAG 2.1, success criterion 1.4.3."""
    page.prefer(theme)
    page.wait(lambda: page.run("return matchMedia('(prefers-color-scheme: dark)').matches") == (theme == "dark"), theme)
    ratios = page.run(
        """
        const channels = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const linear = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const light = (colour) => { const [r, g, b] = channels(colour).map(linear);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = (e) => { const c = getComputedStyle(e).backgroundColor;
          return c.endsWith(", 0)") || c === "transparent" ? behind(e.parentElement) : c; };
        return ["label", ".lack", ".quiet", ".numbers dd", ".memory", ".pill", ".primary", "h2", "summary"]
          .flatMap((s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility()))
          .map((e) => [e.className || e.tagName, getComputedStyle(e).color, behind(e)])
          .map(([name, front, back]) => { const [a, b] = [light(front), light(back)];
            return [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; });
        """
    )
    assert len(ratios) > 10
    assert [(name, ratio) for name, ratio in ratios if ratio < 4.5] == []


def test_on_a_phone_nothing_is_wider_than_the_screen(page, gateway):
    page.resize(*PHONE_PX)
    try:
        page.open(gateway.url)
        order(page, "on a phone, with a rather long prompt that wraps", **SHORT)
        page.see("#images .caption", "on a phone")
        assert page.run("return document.documentElement.scrollWidth") <= PHONE_PX[0]
        small = page.run(
            "return [...document.querySelectorAll('button, .button')].filter((e) => e.checkVisibility())"
            ".filter((e) => e.getBoundingClientRect().height < 24).map((e) => e.textContent)"
        )
        assert small == []  # WCAG 2.2, success criterion 2.5.8
    finally:
        page.resize(*browser_module.DESKTOP_PX)


def test_everything_has_a_name_for_those_who_hear_the_page(page):
    order(page, "with a name", **SHORT)
    page.see("#images .caption", "with a name")
    unnamed = page.run(
        """
        const named = (e) => e.ariaLabel || e.labels?.length || e.textContent.trim() || e.title;
        return [...document.querySelectorAll("button, a, input, select, textarea, progress, section, dialog")]
          .filter((e) => !named(e) && !e.getAttribute("aria-labelledby")).map((e) => e.outerHTML.slice(0, 80))
          .concat([...document.querySelectorAll("img:not([alt])")].map((e) => e.outerHTML.slice(0, 80)));
        """
    )
    assert unnamed == []
    assert page.run("return document.documentElement.lang") == "en"
    assert page.run("return document.querySelectorAll('h1').length") == 1


def test_the_page_is_used_by_keyboard_alone(page):
    page.run("document.querySelector('a, button').focus()")
    assert page.see(":focus") == "To the prompt"
    page.one(":focus").send_keys(Keys.ENTER)
    page.wait(lambda: page.run("return document.activeElement.id") == "prompt", "the prompt to have the focus")
    page.driver.switch_to.active_element.send_keys("by keyboard", Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)
    page.see("#images .caption", "by keyboard")


def test_where_there_are_keys_one_is_asked_for_once(window, site):
    named = {"http_keys_file": str(site.folder / "browser-keys.json")}
    keys = key_file(site.settings.with_changes(**named))
    plain, operator = keys.add("ann"), keys.add("root", may_operate=True)
    with serving(site.settings, **named) as gateway:
        window.forget(gateway.url)
        window.driver.get(gateway.url)
        window.type("#sign-in [name=key]", "ladle-wrong")
        window.click("#sign-in button", "Sign in")
        window.see("#sign-in .problem", "not valid")
        window.type("#sign-in [name=key]", plain)
        window.click("#sign-in button", "Sign in")
        window.see("#connection", "live")
        window.open(gateway.url)
        assert window.see("#who") == "ann"
        order(window, "of ann", **SHORT)
        window.see("#images .caption", "of ann")
        assert plain not in window.run("return document.cookie + JSON.stringify({...localStorage})")

        window.see("#dead .lack", "Only an operator")
        assert window.all("#whose") == []
        assert "Drain" not in window.texts("#node-list button")

        window.click("#sign-out")
        window.type("#sign-in [name=key]", operator)
        window.click("#sign-in button", "Sign in")
        window.see("#who", "root")
        window.see("#node-list button", "Drain")
        window.see("#images .caption", "of ann")  # root has none, so everybody's are shown
        keys.remove("root")
        window.click("#node-list button", "Drain")
        window.one("#sign-in [name=key]")


def test_without_a_ledger_the_panels_say_what_they_lack_and_drawing_works(window, site, tmp_path):
    with serving(site.settings, database_url=f"sqlite:///{tmp_path}/elsewhere.db", models="tiny") as gateway:
        window.forget(gateway.url)
        window.open(gateway.url)
        for panel in ("queue", "nodes", "timeline", "policy", "dead"):
            window.see(f"#{panel} .lack", "LADLE_DATABASE_URL")
        order(window, "without a ledger", **SLOW)
        window.see("#open-jobs .state", "drawing on")
        window.open(gateway.url)
        window.see("#open-jobs .state", "drawing on")
        window.see("#images .caption", "without a ledger")


def test_a_prompt_is_text_whatever_it_looks_like(page):
    evil = "<img src=x onerror=\"document.title='broken'\">"
    order(page, evil, **SHORT)
    assert page.see("#images .caption", "<img") == evil
    assert "broken" not in page.driver.title


def test_the_gateway_comes_back_and_the_page_with_it(window, site):
    with serving(site.settings) as gateway:
        window.forget(gateway.url)
        window.open(gateway.url)
    window.see("#connection", "reconnecting")
    with serving(site.settings, port=gateway.port):
        window.see("#connection", "live")
