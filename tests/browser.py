"""A real Chromium without a screen, driven by its own driver. Tests that use it require ``chromium``."""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PATIENCE = 30.0
"""Seconds for anything that must come."""

DRIVER = "/usr/bin/chromedriver"
PROGRAM = "/usr/bin/chromium"


class Browser:
    """A running one; made by ``browser()``."""

    def __init__(self, chrome: Chrome) -> None:
        """It shows an empty page."""
        self.chrome = chrome

    def open(self, address: str) -> None:
        """Go there; returns when the page is loaded."""
        self.chrome.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns that runs in the page."""
        return self.chrome.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until an expression is true in the page, and return it. Raises ``TimeoutError`` that shows the page."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(f"return {script}", *arguments)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE:g} s: {script}\n{self.run('return document.body.innerText')}")
            time.sleep(0.02)
        return value

    def emulate(self, **features: str) -> None:
        """Let the page believe what its reader prefers, like ``prefers_color_scheme="dark"``."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def width(self, pixels: int, height: int = 900) -> None:
        """Be a window, or a phone, of this width."""
        size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 600}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def offline(self, *, lost: bool) -> None:
        """Cut the network, or mend it."""
        state = {"offline": lost, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.chrome.execute_cdp_cmd("Network.enable", {})
        self.chrome.execute_cdp_cmd("Network.emulateNetworkConditions", state)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Take a screenshot as PNG, of the whole page or of what is in the window."""
        size = self.chrome.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        options: dict[str, Any] = {"captureBeyondViewport": whole} | ({"clip": clip} if whole else {})
        path.write_bytes(base64.b64decode(self.chrome.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))

    def complaints(self) -> list[str]:
        """What the console has been told since the last time: errors, and violations of the page's policy."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]  # type: ignore[no-untyped-call]  # selenium has types for most


@contextmanager
def browser(folder: Path, *, script: bool = True) -> Iterator[Browser]:
    """Run a browser with a profile in ``folder``. Nothing of it is left. ``script``: whether pages may run theirs."""
    options = ChromeOptions()
    options.binary_location = PROGRAM
    arguments = (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
    )
    for argument in (*arguments, f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"):
        options.add_argument(argument)
    if not script:
        options.add_argument("--blink-settings=scriptEnabled=false")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
