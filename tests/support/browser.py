"""A real headless Chromium for tests, and the accessibility check that runs inside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

INSTALL = "apt-get update && apt-get install -y chromium chromium-driver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
)
PATIENCE = 60.0
"""How long a page may take on a slow, loaded machine [s]."""
SERIOUS = ("serious", "critical")


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 900, *, offline: bool = False) -> Iterator:
    """Start a browser with a fresh profile; fails where Chromium is missing."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, f"these tests need a browser: {INSTALL}"
    assert driver, f"these tests need a browser's driver: {INSTALL}"
    options = Options()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.set_page_load_timeout(PATIENCE)
        browser.set_script_timeout(PATIENCE)
        if offline:
            browser.execute_cdp_cmd("Network.enable", {})
            conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
        yield browser
    finally:
        browser.quit()


def until(browser, condition, what: str, timeout: float = PATIENCE):
    """Wait until `condition(browser)` is true."""
    return WebDriverWait(browser, timeout, 0.1).until(condition, f"waited {timeout:.0f} s in vain for {what}")


def accessibility_findings(browser) -> list[str]:
    """Serious and critical findings of axe on the page as it is, one line each."""
    spec = find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    browser.execute_script(Path(spec.origin).with_name("axe.min.js").read_text())
    result = browser.execute_async_script("const done = arguments[0]; axe.run(document).then(done, done);")
    assert result.get("passes"), result
    return [
        f"{found['impact']}: {found['id']}: {found['help']}: {[node['html'][:120] for node in found['nodes']][:3]}"
        for found in result["violations"]
        if found["impact"] in SERIOUS
    ]


def prefer(browser, scheme: str) -> None:
    """Make the page light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
