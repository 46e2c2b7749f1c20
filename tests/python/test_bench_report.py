"""The report of `garrison bench`, looked at in a real browser: plots have sizes and lines, and are not blank."""

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import BINARY
from PIL import Image

CHROMIUM = shutil.which("chromium")
WIDTH, HEIGHT = 1400, 2400

# Runs in a copy of the page: the page itself has no script.
MEASURE = """<script>
const boxes = [...document.querySelectorAll('svg.plot')].map(svg => {
  const box = svg.getBoundingClientRect();
  const curves = [...svg.querySelectorAll('polyline')].map(curve => curve.getBBox());
  return {name: svg.getAttribute('aria-label'), x: box.x, y: box.y, width: box.width, height: box.height,
          curves: curves.map(c => [c.width, c.height])};
});
const loads = performance.getEntriesByType('resource').map(r => r.name);
document.body.innerHTML = '<pre id="found"></pre>';
document.getElementById('found').textContent = JSON.stringify({boxes, loads});
</script>"""


def browse(page: pathlib.Path, *flags: str) -> tuple[str, str]:
    """What the browser prints, and its log."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               f"--user-data-dir={page.parent / 'profile'}", f"--window-size={WIDTH},{HEIGHT}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def page(server, tmp_path_factory) -> pathlib.Path:
    page = tmp_path_factory.mktemp("report") / "report.html"
    subprocess.run(
        [BINARY, "bench", "serve", "--url", server.url, "--concurrency", "1,2,4", "--requests", "40",
         "--prompt-tokens", "16-64", "--gen-tokens", "8-24", "--html", str(page)],
        check=True, capture_output=True, timeout=300,
    )
    return page


def test_every_plot_is_drawn(page):
    copy = page.with_name("measured.html")
    copy.write_text(page.read_text().replace("</body>", MEASURE + "</body>"))
    dom, log = browse(copy, "--dump-dom")
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)[1]))
    assert found["loads"] == [], "the page loads nothing"
    assert "CONSOLE" not in log, log
    names = [box["name"] for box in found["boxes"]]
    assert names[0] == "Latency as the load rises" and len(names) == 7, names
    for box in found["boxes"]:
        assert box["width"] > 300 and box["height"] > 140, box
        assert len(box["curves"]) == 3, box
    for box in found["boxes"][:4]:  # what takes seconds may be a single point here
        assert any(width > 20 and height > 20 for width, height in box["curves"]), box


def test_a_screenshot_shows_lines_of_every_colour(page):
    shot = page.with_name("shot.png")
    browse(page, f"--screenshot={shot}")
    image = Image.open(shot).convert("RGB")
    assert image.size == (WIDTH, HEIGHT)
    colours = dict((colour, n) for n, colour in image.getcolors(1 << 24))
    for colour in [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)]:
        assert colours.get(colour, 0) > 200, f"{colour}: {colours.get(colour, 0)} pixels"
    white = colours[(255, 255, 255)] / (WIDTH * HEIGHT)
    assert 0.5 < white < 0.99, "neither blank nor black"


def test_a_dark_screen_gets_a_dark_page(page):
    shot = page.with_name("dark.png")
    browse(page, f"--screenshot={shot}", "--blink-settings=preferredColorScheme=0")
    colours = dict((colour, n) for n, colour in Image.open(shot).convert("RGB").getcolors(1 << 24))
    assert colours[(0x16, 0x18, 0x1C)] / (WIDTH * HEIGHT) > 0.5
    for colour in [(0x4A, 0xA8, 0xE0), (0xF0, 0x80, 0x3C), (0x2F, 0xC7, 0x9B)]:
        assert colours.get(colour, 0) > 200, f"{colour}: {colours.get(colour, 0)} pixels"
