"""Look at every page of the built site in Chromium, at desktop and phone width, light and dark.

``python docs/check_site.py build/docs``: prints pictures that are missing, without a text, over something or wider than the page,
headings that skip a level, and text of too little contrast; fails if there are any.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WIDTHS = (1280, 390)
MODES = ("light", "dark")
SCRIPT = """
<script>
document.documentElement.dataset.mode = document.documentElement.dataset.theme = "MODE";
window.addEventListener("load", () => setTimeout(() => {
  const found = [], main = document.querySelector("article") || document.body;
  const box = x => x.getBoundingClientRect();
  const meets = (a, b) => a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  const pictures = [...main.querySelectorAll("img")];
  for (const x of pictures) {
    if (!x.naturalWidth) found.push("missing picture " + x.src);
    if (!x.alt) found.push("picture without a text " + x.src);
    if (box(x).right > innerWidth + 1) found.push("picture wider than the page " + x.src);
    for (const other of main.querySelectorAll("p, pre, table, h1, h2, h3, img")) {
      if (other === x || other.contains(x) || !other.checkVisibility() || !box(other).height) continue;
      if (meets(box(x), box(other))) found.push("picture over " + other.tagName + " " + x.src);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) found.push("page wider than the window");
  let level = 0;
  for (const x of main.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    if (+x.tagName[1] > level + 1) found.push("heading that skips a level: " + x.textContent);
    level = +x.tagName[1];
  }
  const numbers = text => (text.match(/[\\d.]+/g) || [0, 0, 0]).map(Number);
  const light = rgb => rgb.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = x => {
    for (; x; x = x.parentElement) {
      const rgb = numbers(getComputedStyle(x).backgroundColor);
      if (rgb.length < 4 || rgb[3] > 0.99) return rgb;
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  for (const x of main.querySelectorAll("p, li, td, th, code, a, h1, h2, h3, span")) {
    if (![...x.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !box(x).width) continue;
    if (getComputedStyle(x).visibility === "hidden" || +getComputedStyle(x).opacity < 1) continue;
    const a = light(numbers(getComputedStyle(x).color)), b = light(behind(x));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const key = x.tagName + "." + x.className + " contrast " + contrast.toFixed(1);
    if (contrast < 4.5 && !seen.has(key)) { seen.add(key); found.push(key); }
  }
  document.body.setAttribute("data-found", JSON.stringify(found));
}, 300));
</script>
"""


def look(page: Path, width: int, mode: str) -> list[str]:
    """Return what is wrong with a page."""
    copy = page.with_name(f"{page.stem}.{width}.{mode}.check.html")
    copy.write_text(page.read_text().replace("</body>", SCRIPT.replace("MODE", mode) + "</body>"))
    browser = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", f"--user-data-dir={profile}"]
        command = [browser, *options, f"--window-size={width},1200", "--dump-dom", copy.resolve().as_uri()]
        text = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    copy.unlink()
    result = re.search(r'data-found="([^"]*)"', text)
    return json.loads(html.unescape(result[1])) if result else ["the page was not drawn"]


def main(site: Path) -> int:
    """Look at all pages; return the number of faults."""
    others = ("genindex.html", "search.html", "py-modindex.html", "webpack-macros.html")
    pages = [page for page in sorted(site.rglob("*.html")) if page.name not in others]
    tasks = [(page, width, mode) for page in pages for width in WIDTHS for mode in MODES]
    count = 0
    with ThreadPoolExecutor(2) as pool:
        for (page, width, mode), found in zip(tasks, pool.map(lambda task: look(*task), tasks), strict=True):
            for fault in found:
                print(f"{page.relative_to(site)} {width} {mode}: {fault}")
                count += 1
    print(f"{len(pages)} pages, {len(tasks)} views, {count} faults")
    return count


if __name__ == "__main__":
    raise SystemExit(min(main(Path(sys.argv[1])), 1))
