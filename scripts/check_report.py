"""Checks a page of `tilefold report` in headless Chromium, through the WebDriver protocol. Started by scripts/check-report."""

import argparse
import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "report" / "index.html"
CHARTS = ["chart-peers", "chart-roofline", "chart-scaling-n", "chart-scaling-d", "chart-scaling-k", "chart-stages"]
# Narrow, as a telephone held upright; wide, as a window on a desk.
VIEWS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--allow-file-access-from-files"]

# What a chart is: a figure or table of some size in whose SVG something is drawn inside the picture.
INSPECT = """
const charts = {};
for (const element of document.querySelectorAll('[id^="chart-"], [id^="table-"]')) {
  const box = element.getBoundingClientRect(), svg = element.querySelector('svg');
  let drawn = null, outside = 0, broken = 0;
  if (element.id.startsWith('chart-')) {
    drawn = svg ? svg.querySelectorAll('circle, rect, path, polyline, line').length : 0;
    if (svg) {
      const frame = svg.getBoundingClientRect();
      if (frame.width < 1 || frame.height < 1) drawn = 0;
      for (const mark of svg.querySelectorAll('*')) {
        const at = mark.getBoundingClientRect();
        if (at.left < frame.left - 2 || at.right > frame.right + 2 || at.top < frame.top - 2 || at.bottom > frame.bottom + 2) outside++;
        for (const attribute of mark.attributes) if (/NaN|Infinity|undefined/.test(attribute.value)) broken++;
      }
    }
  }
  charts[element.id] = {width: box.width, height: box.height, drawn, outside, broken};
}
return {charts, ids: [...document.querySelectorAll('[id]')].map(e => e.id),
        width: document.documentElement.scrollWidth, window: window.innerWidth, title: document.title,
        sections: document.querySelectorAll('section').length};
"""


class Browser:
    """One Chromium with an empty profile."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="check-report-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        self.session = None

    def __enter__(self):
        for _ in range(100):
            try:
                self.call("GET", "/status")
                break
            except OSError:
                time.sleep(0.1)
        options = {"args": [*FLAGS, f"--user-data-dir={self.profile}"], "perfLoggingPrefs": {"enableNetwork": True}}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(self, *_):
        if self.session:
            self.call("DELETE", f"/session/{self.session}")
        self.driver.terminate()
        self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method,
                                         headers={"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode()[:400]}") from error

    def do(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}{path}", body)

    def devtools(self, command, **parameters):
        return self.do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind):
        return self.do("POST", "/se/log", {"type": kind})


def look(browser, page, scheme, width, screenshot):
    """Everything that is wrong with a page in one view."""
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    for kind in ("browser", "performance"):
        browser.log(kind)
    address = page.resolve().as_uri()
    browser.do("POST", "/url", {"url": address})
    time.sleep(0.3)
    seen = browser.do("POST", "/execute/sync", {"script": INSPECT, "args": []})
    wrong = [f"console: {entry['message'][:200]}" for entry in browser.log("browser")]
    for entry in browser.log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url, document = event["params"]["request"]["url"], event["params"]["documentURL"]
            # The browser's own start page may still be loading.
            if document == address and url != address and not url.startswith("data:"):
                wrong.append(f"request: {url[:200]}")
    if seen["width"] > seen["window"] + 1:
        wrong.append(f"the page is {seen['width']} pixels wide in a window of {seen['window']}")
    for name, chart in seen["charts"].items():
        if chart["width"] < 200 or chart["height"] < 30:
            wrong.append(f"{name}: {chart['width']:.0f} x {chart['height']:.0f} pixels")
        if chart["drawn"] is not None and chart["drawn"] < 4:
            wrong.append(f"{name}: {chart['drawn']} marks")
        if chart["outside"]:
            wrong.append(f"{name}: {chart['outside']} marks outside the picture")
        if chart["broken"]:
            wrong.append(f"{name}: {chart['broken']} attributes that are no numbers")
    for name in {name for name in seen["ids"] if seen["ids"].count(name) > 1}:
        wrong.append(f"{name}: twice")
    if screenshot:
        size = browser.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        picture = browser.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        screenshot.write_bytes(base64.b64decode(picture["data"]))
    return seen, wrong


def check(browser, page, expected, folder):
    """Whether a page is right in every view; prints what is not."""
    faults = []
    for scheme, width in VIEWS:
        screenshot = folder / f"report-{scheme}-{width}.png" if folder else None
        seen, wrong = look(browser, page, scheme, width, screenshot)
        wrong += [f"{name}: missing" for name in expected if name not in seen["charts"]]
        faults += [f"{scheme} {width}: {fault}" for fault in wrong]
        if not wrong:
            print(f"{scheme} {width}: {len(seen['charts'])} charts and tables in {seen['sections']} sections")
    return faults


def self_test(browser, page, expected):
    """Each planted fault must be found, and the page without one must pass."""
    text = page.read_text()
    first = f'id="{expected[0]}"'
    planted = {
        "a missing chart": text.replace(first, 'id="moved"', 1),
        "an empty chart": text.replace("<figure", "<figure style='display:none'", 1),
        "a chart without marks": text[:text.index("<svg")] + "<svg viewBox='0 0 9 9'>" + text[text.index("</svg>"):],
        "a number that is none": text.replace('cx="', 'cx="NaN" data-was="', 1),
        "a mark outside": text.replace("</svg>", '<circle cx="-500" cy="5" r="4"/></svg>', 1),
        "a console error": text.replace("</main>", "<script>console.error('planted')</script></main>"),
        "a script that fails": text.replace("</main>", "<script>missing()</script></main>"),
        "a request": text.replace("</main>", "<img src='http://127.0.0.1:9/x.png'></main>"),
        "a page that is too wide": text.replace("</main>", "<div style='width:3000px'>x</div></main>"),
    }
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, broken in planted.items():
            file = Path(folder) / "page.html"
            file.write_text(broken)
            faults = look(browser, file, "light", 1280, None)
            found = faults[1] + [chart for chart in expected if chart not in faults[0]["charts"]]
            print(f"{'found ' if found else 'MISSED'}  {name}: {found[:1]}")
            if broken == text or not found:
                failed.append(name)
    return [f"planted and not found: {name}" for name in failed]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--charts", nargs="+", default=CHARTS, help="ids that must be there")
    parser.add_argument("--screenshots", type=Path, help="folder of the pictures")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if not arguments.page.is_file():
        print(f"error: {arguments.page}: no such page", file=sys.stderr)
        return 2
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        faults = check(browser, arguments.page, arguments.charts, arguments.screenshots)
        if arguments.self_test:
            faults += self_test(browser, arguments.page, arguments.charts)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print("the page is right" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
