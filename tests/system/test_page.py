"""The status page of a running supervisor in a real browser: from a plugin's look, and a pod's start, to what a person sees."""

import json
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains

from supervisor.kubelet.simulator import KubeletSimulator
from tests.browser import browser
from tests.system.conftest import Start
from tests.system.rig import RESOURCE, Process, Puppet

pytestmark = [pytest.mark.requires("chromium", "patience"), pytest.mark.slow]

MANY = 5000


def address(process: Process) -> str:
    """Of its page."""
    listening = json.loads(process.wait_log('"HttpListening"'))
    return f"http://{listening['address']}/"


def holder(device: str) -> str:
    """Who holds a device, as an expression of the page's language."""
    rows = "[...document.querySelectorAll('.devices tbody tr')]"
    return f"{rows}.find((row) => row.cells[0].textContent === '{device}')?.cells[4].textContent"


def test_what_happens_on_the_node_appears_by_itself(
    kubelet: KubeletSimulator, served: Process, puppet: Puppet, tmp_path: Path
) -> None:
    """A pod that starts and a device that breaks are seen without a reload, while what was typed and unfolded stays."""
    with browser(tmp_path) as chrome:
        chrome.open(address(served))
        chrome.run("window.mark = 1; document.getElementById('q').focus()")
        ActionChains(chrome.chrome).send_keys("widget").perform()
        chrome.until("document.getElementById('found').textContent === '2 of 2 devices found'")
        assert chrome.run("return document.getElementById('verdict').textContent").startswith("Ready, active")
        assert "connected" in chrome.run("return document.querySelector('.resources').innerText")
        puppet.show({"w0": "", "w1": "smells of smoke"})
        chrome.until("document.querySelector('.devices').innerText.includes('smells of smoke')")
        pod = kubelet.add_pod("trainer", {RESOURCE: 1})
        assert pod.admitted, pod.message
        chrome.until(f"{holder('w0')}?.includes('trainer')")
        state = "[window.mark, document.activeElement.id, document.activeElement.value, document.querySelector('details').open]"
        assert chrome.run(f"return {state}") == [1, "q", "widget", True]
        chrome.picture(tmp_path / "page.png")
        assert chrome.complaints() == []


def test_a_standby_and_a_rejected_edit_are_told(
    kubelet: KubeletSimulator, start: Start, served: Process, tmp_path: Path
) -> None:
    """Which process one looks at, and that the newest edit is not in force."""
    standby = start()
    standby.wait_ready("standing by")
    served.config.write_text("kind: Nonsense\n")
    served.wait_log('"ConfigRejected"')
    with browser(tmp_path) as chrome:
        chrome.open(address(standby))
        assert "standing by" in chrome.run("return document.getElementById('verdict').textContent")
        chrome.open(address(served))
        assert "the newest edit is not applied" in chrome.run("return document.getElementById('facts').innerText")
        assert "configuration not applied" in chrome.run("return document.getElementById('problems').innerText")
        assert chrome.complaints() == []


def test_thousands_of_devices_are_found_as_one_types(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, tmp_path: Path
) -> None:
    """A resource with 5 000 devices: the one that broke is seen at once, any other with a few letters."""
    devices = {f"w{number:04d}": "lost its light" if number == 4321 else "" for number in range(MANY)}
    puppet.show(devices)
    process = start()
    kubelet.wait_devices(RESOURCE, {name: "Unhealthy" if reason else "Healthy" for name, reason in devices.items()}, timeout=30)
    with browser(tmp_path) as chrome:
        chrome.open(address(process))
        first = "document.querySelector('.devices tbody th[scope=row]').textContent"
        assert chrome.run(f"return {first}") == "w4321"
        chrome.run("document.getElementById('q').focus()")
        ActionChains(chrome.chrome).send_keys("w2345").perform()
        chrome.until(f"document.getElementById('found').textContent.startsWith('1 of') && {first} === 'w2345'")
        assert chrome.complaints() == []
