"""The server answers this machine alone, shows known files alone, and never writes."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.serve.site import report_policy
from tests.analysis.serve.pages import Pages, served
from tests.fakes.runs import planned_sweep

SECRET = "the secret"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with a report and a figure; beside the folder a secret, and links that lead to it."""
    base = tmp_path_factory.mktemp("serve")
    (base / "secret.html").write_text(SECRET)
    planned_sweep(base / "outside")
    (base / "outside" / "report.html").write_text(SECRET)
    made = planned_sweep(base / "results" / "one")
    made.report.write_text("<p>the report</p><script>let a = 1;</script>")
    made.figures.mkdir()
    (made.figures / "frontier.svg").write_text("<svg/>")
    (made.figures / "linked.svg").symlink_to(base / "secret.html")
    (made.figures / "circle.svg").symlink_to("circle.svg")
    linked = planned_sweep(base / "results" / "linked")
    linked.report.symlink_to(base / "secret.html")
    (base / "results" / "away").symlink_to(base / "outside")
    inside = planned_sweep(base / "results" / "inside")
    inside.report.symlink_to(made.report)
    return base / "results"


@pytest.fixture(scope="module")
def pages(root: Path) -> Iterator[Pages]:
    with served(root) as found:
        yield found


def test_report_and_figures_are_served(pages: Pages) -> None:
    assert "the report" in pages.ask("/files/one/report.html").text
    assert pages.ask("/files/one/figures/frontier.svg").headers["Content-Type"] == "image/svg+xml"
    assert "the report" in pages.ask("/files/inside/report.html").text


@pytest.mark.parametrize(
    "path",
    [
        "/files/one/../../secret.html",
        "/files/one/%2e%2e/%2e%2e/secret.html",
        "/files/one/figures/../../../secret.html",
        "/files/one/figures/..%2f..%2f..%2fsecret.html",
        "/files/../secret.html",
        "/files//etc/passwd",
        "/files/one//etc/passwd",
        "/files/one/report.html%00.png",
        "/files/one/figures/linked.svg",
        "/files/one/figures/circle.svg",
        "/files/one/figures/",
        "/files/linked/report.html",
        "/files/away/report.html",
        "/sweep/away",
        "/api/sweep/away",
        "/api/sweep/../outside",
        "/api/sweep/..%2foutside",
        "/sweep/%2e%2e%2foutside",
        "/files/one/sweep.json",
        "/files/one/",
        "/files/",
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/",
        "/sweep/",
        "/api",
        "/one",
        "/favicon.ico",
        "http://example.org/",
    ],
)
def test_nothing_else_is(pages: Pages, path: str) -> None:
    found = pages.ask(path)
    assert found.status == 404
    assert SECRET not in found.text


def test_a_link_to_a_sweep_elsewhere_is_not_listed(pages: Pages) -> None:
    text = pages.ask("/").text
    assert "/sweep/one" in text
    assert "away" not in text
    assert "/files/linked" not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.0.1"]
)
def test_a_name_of_another_machine_is_refused(pages: Pages, host: str) -> None:
    """So a page elsewhere that lets its name lead here reads nothing."""
    found = pages.ask("/api/sweep/one", host=host)
    assert found.status == 403
    assert b"state" not in found.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:80"])
def test_names_of_this_machine_are_taken_at_any_port(pages: Pages, host: str) -> None:
    assert pages.ask("/", host=host).status == 200


def test_two_names_at_once_are_refused(pages: Pages) -> None:
    assert pages.ask("/", Host="evil.example").status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_questions_are_answered(pages: Pages, method: str) -> None:
    found = pages.ask("/", method=method)
    assert found.status == 405
    assert found.headers["Allow"] == "GET, HEAD"


def test_an_unknown_method_is_refused_with_the_same_head(pages: Pages) -> None:
    found = pages.ask("/", method="BREW")
    assert found.status == 501
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/sweep/one", "/api/sweep/one", "/static/live.js", "/nothing"])
def test_every_answer_has_a_strict_policy(pages: Pages, path: str) -> None:
    found = pages.ask(path)
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in found.headers
    assert "Python" not in found.headers["Server"]


def test_own_pages_hold_no_script_and_no_style(pages: Pages) -> None:
    for path in ("/", "/sweep/one"):
        text = pages.ask(path).text
        assert text.count("<script") == text.count('<script type="module" src="/static/')
        assert "style=" not in text
        assert "<style" not in text


def test_a_report_runs_its_own_scripts_alone_in_an_origin_of_its_own(pages: Pages) -> None:
    policy = pages.ask("/files/one/report.html").headers["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "script-src 'none'" in report_policy(b"<p>none</p>")


@pytest.mark.parametrize("path", ["/", "/sweep/one", "/api/sweep/one", "/files/one/report.html"])
def test_what_did_not_change_is_not_sent_again(pages: Pages, path: str) -> None:
    first = pages.ask(path)
    etag = first.headers["ETag"]
    again = pages.ask(path, If_None_Match=f'"other", W/{etag}')
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == etag
    assert pages.ask(path, If_None_Match='"other"').body == first.body


def test_a_head_is_the_answer_without_its_body(pages: Pages) -> None:
    whole, head = pages.ask("/"), pages.ask("/", method="HEAD")
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert head.headers["ETag"] == whole.headers["ETag"]


def test_it_listens_on_the_loopback_address_alone(pages: Pages) -> None:
    assert pages.address == f"http://127.0.0.1:{pages.port}/"
    # Any other address of the loopback network is another interface to a socket.
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.2", pages.port), timeout=5),
    ):
        pass


def test_nothing_is_written(root: Path, pages: Pages) -> None:
    def files() -> dict[str, tuple[int, int]]:
        found = [Path(folder) / name for folder, _, names in os.walk(root.parent) for name in names]
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found}

    before = files()
    for path in ("/", "/sweep/one", "/api/sweep/one", "/files/one/report.html"):
        assert pages.ask(path).status == 200
    assert files() == before
