"""The page in headless Chromium: the script runs, draws, survives hostile names, loads nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from triptych.report.page import write_page

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--virtual-time-budget=4000",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """A function that opens a file in Chromium with extra flags and returns what it prints."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "needs Chromium; install it with: apt-get install chromium"
        )
    profile = tmp_path_factory.mktemp("profile")

    def run(path, *flags):
        command = [program, *FLAGS, f"--user-data-dir={profile}", *flags, path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return run


def root_data(dom: str) -> dict[str, str]:
    return dict(re.findall(r'data-(\w+)="([^"]*)"', re.search("<html[^>]*>", dom)[0]))


def test_the_script_draws_a_canvas_for_each_curve(browse, page, tmp_path):
    dom = browse(write_page(tmp_path / "page.html", page), "--dump-dom")
    assert root_data(dom) == {"ready": "true"}
    columns = ["greedy return", "loss", "epsilon", "running reward", "time"]
    assert dom.count("<canvas") == 1 + len(columns)
    thumbs = dom.partition('id="thumbs"')[2].partition("<script")[0]
    assert re.findall(r"<span>([^<]+)</span>", thumbs) == columns
    pressed = re.findall(r'<button[^>]*aria-pressed="true"[^>]*>(?:<span>)?([\w ]+)', thumbs)
    assert pressed == ["greedy return"]
    legend = dom.partition('id="legend"')[2].partition('id="chart"')[0]
    assert re.findall(r"<span>(\w+)</span>", legend) == ["torch", "jax", "keras"]
    assert "one standard error of that window" in dom.partition('id="note"')[2][:200]


def test_a_page_without_runs_is_ready_too(browse, build_page, tmp_path):
    dom = browse(write_page(tmp_path / "page.html", build_page(runs=[])), "--dump-dom")
    assert root_data(dom) == {"ready": "true"}
    assert "<canvas" not in dom


def test_hostile_names_neither_run_nor_break_the_page(browse, hostile_page, hostile, tmp_path):
    dom = browse(write_page(tmp_path / "page.html", hostile_page), "--dump-dom")
    assert root_data(dom) == {"ready": "true"}
    assert dom.count("<canvas") == 3
    assert hostile not in dom


def test_an_error_in_the_script_is_recorded(browse, page, tmp_path):
    path = write_page(tmp_path / "page.html", page)
    path.write_text(
        path.read_text("utf-8").replace('id="curve-data">{', 'id="curve-data">?'), "utf-8"
    )
    found = root_data(browse(path, "--dump-dom"))
    assert "SyntaxError" in found["error"] and "ready" not in found


def test_the_policy_stops_a_script_that_is_not_ours(browse, page, tmp_path):
    path = write_page(tmp_path / "page.html", page)
    extra = "<script>document.documentElement.dataset.pwned=1</script></body>"
    path.write_text(path.read_text("utf-8").replace("</body>", extra), "utf-8")
    assert root_data(browse(path, "--dump-dom")) == {"ready": "true"}


def test_clicks_change_x_y_and_backends(browse, page, tmp_path):
    path = write_page(tmp_path / "page.html", page)
    # The policy lets no other script in, so the clicks come from a copy without it.
    clicks = """<script>
      const press = (where, k) => document.querySelectorAll(`${where} button`)[k].click();
      press("#x-choice", 1); press("#thumbs", 1); press("#legend", 2);
    </script></body>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", path.read_text("utf-8"))
    path.write_text(text.replace("</body>", clicks), "utf-8")
    dom = browse(path, "--dump-dom")
    assert root_data(dom) == {"ready": "true"}
    body = dom.partition('id="x-choice"')[2].partition("<script")[0]
    assert re.findall(r'aria-pressed="true">(\w+)<', body) == ["frame"]
    assert re.search('class="chart-title">loss<', body)
    legend = body.partition('id="legend"')[2].partition('id="chart"')[0]
    assert re.findall('aria-pressed="(true|false)"', legend) == ["true", "true", "false"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 500])
def test_the_screenshot_shows_ticks_curves_and_no_overflow(
    browse, build_page, judged, tmp_path, width, scheme
):
    image = pytest.importorskip("PIL.Image")
    shot = tmp_path / "page.png"
    dark = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    page = build_page(certificate=json.dumps({"outcome": judged()}))
    path = write_page(tmp_path / "page.html", page)
    browse(path, f"--screenshot={shot}", f"--window-size={width},4200", dark)
    pixels = np.asarray(image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    paper = pixels[2, 2]
    assert (paper.mean() > 200) == (scheme == "light")
    # A margin of paper on both sides: nothing is wider than the page.
    assert (pixels[:, :4] == paper).all() and (pixels[:, -4:] == paper).all()
    colours = {
        "light": {"tick": "16794a", "torch": "c96a00", "jax": "0072b2", "keras": "8e1f5e"},
        "dark": {"tick": "45c486", "torch": "f2a33c", "jax": "5ab6ee", "keras": "f08fb0"},
    }[scheme]
    for name, text in colours.items():
        colour = [int(text[k : k + 2], 16) for k in (0, 2, 4)]
        count = (np.abs(pixels - colour).max(axis=-1) <= 2).sum()
        assert count > (10_000 if name == "tick" else 300), name
