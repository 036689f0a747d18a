"""A real browser over the gateway's page: Debian's chromium, driven by selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

from ladle_site import PATIENCE_S, wait_until
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
DESKTOP_PX, PHONE_PX = (1440, 1000), (390, 844)


def missing() -> str:
    """Return what is not installed; empty if a browser can be driven."""
    lacks = [] if any(map(shutil.which, BROWSERS)) else ["chromium"]
    return " and ".join(lacks + ([] if shutil.which(DRIVER) else ["chromium-driver"]))


class Browser:
    """One window without a screen. Whatever a test expects, it waits for."""

    def __init__(self) -> None:
        options = Options()
        options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # which cannot sandbox
        for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *root):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which(DRIVER)))
        self.resize(*DESKTOP_PX)

    def quit(self) -> None:
        self.driver.quit()

    def resize(self, width_px: int, height_px: int) -> None:
        metrics = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": width_px < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Let the system ask for "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def forget(self, url: str) -> None:
        """Delete what this browser remembers of a gateway."""
        self.driver.get(f"{url}/static/icon.svg")
        self.driver.execute_script("localStorage.clear()")
        self.driver.delete_all_cookies()

    def open(self, url: str) -> None:
        """Open the page, which is there when it hears the gateway."""
        self.driver.get(url)
        self.see("#connection", "live")

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Return what a person sees of these elements."""
        return [element for element in self.driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]

    def one(self, selector: str, text: str = "") -> WebElement:
        """Wait for the first visible element with a text."""
        found: list[WebElement] = []
        self.wait(lambda: found.extend(e for e in self.all(selector) if text in e.text) or found, f"{selector} {text}")
        return found[0]

    def see(self, selector: str, text: str = "") -> str:
        """Wait until a visible element has a text, and return all of its text."""
        texts: list[str] = []

        def is_there() -> bool:
            texts[:] = [found for found in self.texts(selector) if text in found]
            return bool(texts)

        self.wait(is_there, f"{selector} with {text!r}; there is {self.texts(selector)}")
        return texts[0]

    def texts(self, selector: str) -> list[str]:
        """Return the texts of visible elements as they are now."""
        try:
            return [element.text for element in self.all(selector)]
        except StaleElementReferenceException:  # replaced meanwhile: look again
            return self.texts(selector)

    def gone(self, selector: str, text: str = "") -> None:
        """Wait until no visible element has a text."""
        self.wait(lambda: not any(text in found for found in self.texts(selector)), f"{selector} {text} to go")

    def click(self, selector: str, text: str = "") -> None:
        self.one(selector, text).click()

    def type(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            try:
                return condition()
            except StaleElementReferenceException:
                return False

        wait_until(holds, what, PATIENCE_S)

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since it was asked last: scripts, styles, the content policy.

        Refusals of the gateway are not among them: the page shows those itself.
        """
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE" and entry["source"] != "network"]
