"""The Prometheus of the tests: it scrapes, evaluates, refuses, and goes without a trace."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.prometheus import JOB, Refused, check_metrics, prometheus

PAGE = b"# HELP answer The answer.\n# TYPE answer gauge\nanswer 42\n"

RULES = """
groups:
- name: some
  rules:
  - {alert: Wrong, expr: answer == 41}
  - {alert: Right, expr: answer == 42}
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Be silent."""


@pytest.fixture
def target() -> Iterator[str]:
    """The address of a page with one metric."""
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.requires("prometheus", "patience")
@pytest.mark.slow
def test_it_scrapes_evaluates_and_goes(target: str, tmp_path: Path) -> None:
    """A page is scraped, a rule about it fires, a bad question is refused, and afterwards nobody listens."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with prometheus([target], rules) as running:
        assert running.until("answer")[0].labels == {"__name__": "answer", "instance": target, "job": JOB}
        assert [each.labels["alertname"] for each in running.until("ALERTS")] == ["Right"]
        assert running.query("answer + 1")[0].value == 43
        assert running.query("scalar(answer)")[0].value == 42
        assert [each["health"] for each in running.targets()] == ["up"]
        assert {each["name"]: each["health"] for each in running.rules()} == {"Wrong": "ok", "Right": "ok"}
        with pytest.raises(Refused, match="parse error"):
            running.query("answer +")
        with pytest.raises(TimeoutError, match="no answer == 41 within"):
            running.until("answer == 41", timeout=0.1)
    with pytest.raises(OSError, match="refused"):
        running.query("answer")


@pytest.mark.requires("prometheus", "patience")
def test_bad_rules_end_it_at_once(tmp_path: Path) -> None:
    """A file of rules that nobody understands is told instead of waited for."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [{name: some, rules: [{alert: Wrong, expr: 'answer +'}]}]")
    with pytest.raises(RuntimeError, match="parse error"), prometheus([], rules) as running:
        pytest.fail(f"it runs at {running.address}")


@pytest.mark.requires("prometheus", "patience")
@pytest.mark.parametrize(("page", "said"), [(PAGE, ""), (b"answer 42\n", "no help text"), (b"answer {\n", "exit code 1")])
def test_promtool_says_what_is_wrong_with_a_page(page: bytes, said: str) -> None:
    """A good page gives nothing, a bad one a sentence."""
    assert said in check_metrics(page)
    assert bool(said) == bool(check_metrics(page))
