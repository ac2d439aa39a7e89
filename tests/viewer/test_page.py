"""The page in a real browser: what it shows, and what mouse, keys and controls do to it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import PixelError
from hvit_cli.viewer.scene import Scene
from hvit_cli.viewer.server import ViewerServer

pytestmark = pytest.mark.browser


class Page:
    """The page, open, with the words that these tests need."""

    def __init__(self, browser: Any, browsing: SimpleNamespace, server: ViewerServer) -> None:
        self.browser, self.browsing, self.url = browser, browsing, server.url
        browser.get(server.url)
        self.until(lambda: self.js("return document.body.dataset.ready"), "the page is made")
        self.settle()

    def js(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        return self.browsing.wait_until(self.browser, lambda _: holds(), what)

    def settle(self) -> None:
        """Waits until nothing moves and every tile that is shown has come."""
        self.until(
            lambda: self.js(
                "const v = page.layers.viewer, w = v.world, p = v.viewport;"
                "const still = (s) => Math.abs(s.current.value - s.target.value) < 1e-9;"
                "return [...Array(w.getItemCount()).keys()].every(i =>"
                "  !w.getItemAt(i).getOpacity() || w.getItemAt(i).getFullyLoaded())"
                "  && still(p.zoomSpring) && still(p.centerSpringX) && still(p.centerSpringY);"
            ),
            "all tiles have come",
        )

    def press(self, keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(keys).perform()

    def text(self, name: str) -> str:
        return str(self.js("return document.getElementById(arguments[0]).innerText", name))

    def tiles(self, kind: str) -> list[str]:
        """Tiles asked for so far, without what precedes their kind."""
        asked = self.browsing.requested(self.browser)
        return [one.removeprefix(self.url) for one in asked if f"/{kind}/" in one]

    def has(self, start: str) -> bool:
        """Whether a tile was asked for whose address begins so."""
        return any(one.startswith(start) for one in self.tiles(start.split("/")[0]))

    def pixel(self, x: float, y: float) -> list[int]:
        """Colour of the deep-zoom picture at a place of the page."""
        shot = base64.b64decode(self.browser.get_screenshot_as_base64())
        with Image.open(io.BytesIO(shot)) as picture:
            return list(np.asarray(picture.convert("RGB"))[round(y), round(x)].tolist())

    def place_of(self, xy_level0: list[float]) -> tuple[float, float]:
        """Where a level-0 point of the slide lies on the page."""
        x, y = self.js(
            "const p = page.layers.slide.imageToViewerElementCoordinates("
            "  new OpenSeadragon.Point(arguments[0], arguments[1]));"
            "const box = page.layers.viewer.container.getBoundingClientRect();"
            "return [p.x + box.left, p.y + box.top]",
            *xy_level0,
        )
        return x, y

    def point_at(self, x: float, y: float) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        pointer = ActionChains(self.browser)
        pointer.w3c_actions.pointer_action.move_to_location(round(x), round(y))
        pointer.perform()

    def readings(self) -> dict[str, str]:
        return dict(
            self.js(
                "const l = document.getElementById('cell');"
                "return [...l.querySelectorAll('dt')].map("
                "  t => [t.innerText, t.nextElementSibling.innerText])"
            )
        )


@pytest.fixture
def page(browser: Any, browsing: SimpleNamespace, server: ViewerServer) -> Iterator[Page]:
    opened = Page(browser, browsing, server)
    yield opened
    assert browsing.complaints(browser) == []
    elsewhere = [one for one in browsing.requested(browser) if not one.startswith(server.url)]
    assert elsewhere == []


def cells(server: ViewerServer, key: str) -> dict[str, Any]:
    answer = server.site.answer(f"/{server.site.key}/cells/{key}.json")
    assert answer is not None
    return dict(json.loads(answer.body))


def test_it_says_slide_grade_note_and_that_it_is_no_device(page: Page, scene: Scene) -> None:
    assert page.text("slide-name") == scene.slide_id  # as text, though it looks like HTML
    assert page.browser.title == f"{scene.slide_id} · hvit view"
    panel = page.text("panel")
    for said in scene.said:
        assert said.grade in panel and said.score in panel
    assert "not a medical device: not for diagnosis" in panel
    assert page.text("note") == "A toy."
    assert "0.10 mm² were not looked at." in panel
    assert "2900 × 1700 px, 1.4 × 0.8 mm, 0.5 µm/px · model toy" in panel
    assert scene.watermark in page.text("watermark")
    assert (
        page.js("return getComputedStyle(document.getElementById('watermark')).pointerEvents")
        == "none"
    )


def test_zooming_asks_for_finer_tiles_and_shortens_the_scale_bar(page: Page) -> None:
    deepest = max(int(tile.split("/")[1]) for tile in page.tiles("slide"))
    # 1024 px of the page for 2900 px: zoom 2 has 1450.
    assert deepest == 2
    um_per_px = page.js("return page.layers.level0PerScreenPx") * 0.5
    length, unit = page.text("scalebar-text").split(" · ")[0].split()
    width = page.js("return document.getElementById('scalebar-line').offsetWidth")
    assert width == pytest.approx(float(length) / um_per_px, abs=1) and unit == "µm"
    for _ in range(3):
        page.browser.find_element("id", "zoom-in").click()
    page.settle()
    assert max(int(tile.split("/")[1]) for tile in page.tiles("slide")) == 3
    finer = page.js("return page.layers.level0PerScreenPx") * 0.5
    assert finer == pytest.approx(um_per_px / 1.5**3)
    assert f"{finer:.3g} µm/px on screen" in page.text("scalebar-text")
    page.browser.find_element("id", "zoom-home").click()
    page.settle()
    assert page.js("return page.layers.level0PerScreenPx") * 0.5 == pytest.approx(um_per_px)


def test_colours_lie_on_their_patches_and_fade_with_the_slider(
    page: Page, server: ViewerServer, scene: Scene
) -> None:
    layer = scene.layers[0]
    columns = cells(server, layer.key)
    seen = [i for i, visible in enumerate(columns["visible"]) if visible][::7]
    slider = page.browser.find_element("id", "opacity")
    page.js("document.getElementById('watermark').hidden = true")
    page.js("arguments[0].value = 100; arguments[0].dispatchEvent(new Event('input'))", slider)
    page.settle()
    for i in seen:
        left, top, right, bottom = columns["box_level0"][i]
        x, y = page.place_of([(left + right) / 2, (top + bottom) / 2])
        index = min(int(min(columns["relative"][i] / 3, 1) * 256), 255)
        assert np.abs(np.array(page.pixel(x, y)) - layer.table[index]).max() <= 2
    page.js("arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider)
    page.settle()
    x, y = page.place_of([700, 500])
    bare = page.pixel(x, y)
    page.press("h")
    page.settle()
    assert page.pixel(x, y) == bare
    assert page.text("opacity-text") == "0 %"


def test_the_readings_under_the_pointer_are_those_of_the_cell(
    page: Page, server: ViewerServer, scene: Scene
) -> None:
    columns = cells(server, "masked-attention-region")
    for i in (1, 6, 20, 33, 47):
        left, top, right, bottom = columns["box_level0"][i]
        # Near the lower right corner: a shifted grid would give the neighbour's.
        page.point_at(*page.place_of([right - 12, bottom - 12]))
        page.until(
            lambda i=i: (
                page.js("return page.layers && document.getElementById('cell').dataset.cell")
                == str(i)
            ),
            f"cell {i} is read",
        )
        read = page.readings()
        place = (
            f"region {columns['region'][i]}, row {columns['row'][i]}, column {columns['column'][i]}"
        )
        assert read["Patch"] == place
        x, y = columns["xy_level0"][i]
        assert read["Corner"] == f"x {x}, y {y} px"
        assert read["Tissue"] == f"{100 * columns['tissue_fraction'][i]:.1f} %"
        for name, scale in (("Relative", "relative"), ("Rank", "rank"), ("Value", "raw")):
            assert float(read[name]) == pytest.approx(columns[scale][i], rel=2e-3, abs=1e-4)
    hidden = columns["visible"].index(False)
    left, top, right, bottom = columns["box_level0"][hidden]
    page.point_at(*page.place_of([(left + right) / 2, (top + bottom) / 2]))
    page.until(lambda: "Seen" in page.readings(), "the hidden patch is read")
    assert page.readings()["Seen"] == "no: hidden from the model"
    page.point_at(*page.place_of([1700, 100]))
    page.until(lambda: "No patch here" in page.text("cell"), "nothing is read")


def test_everything_can_be_done_with_keys(page: Page, server: ViewerServer) -> None:
    chosen = "return document.querySelector('#attention input:checked').value"
    assert page.js(chosen) == "masked"
    page.press("a")
    page.settle()
    assert page.js(chosen) == "plain"
    page.until(
        lambda: page.has("map/plain-attention-region/relative/all/"), "its tiles are asked for"
    )
    page.press("g")
    page.settle()
    page.until(
        lambda: page.has("map/plain-attention-region/relative/tissue/"), "its tiles are asked for"
    )
    page.press("s")
    page.settle()
    assert page.js("return document.getElementById('scale').value") == "rank"
    assert page.text("bar-label") == "rank"
    page.press("]]]")
    assert page.text("opacity-text") == "65 %"
    page.press("[")
    assert page.text("opacity-text") == "60 %"
    page.press("r")
    page.settle()
    page.until(lambda: page.has("marks/regions/"), "its tiles are asked for")
    columns = cells(server, "plain-attention-region")
    order = sorted(range(48), key=lambda i: (-columns["rank"][i], i))
    for n in (0, 1, 2):
        page.press("n")
        page.settle()
        assert page.js("return document.getElementById('cell').dataset.cell") == str(order[n])
        assert page.text("place") == f"{n + 1} of 48"
        left, top, right, bottom = columns["box_level0"][order[n]]
        x, y = page.place_of([(left + right) / 2, (top + bottom) / 2])
        assert (x, y) == pytest.approx(page.js(CENTRE), abs=2)
    page.press("p")
    assert page.text("place") == "2 of 48"
    page.settle()
    before = page.js("return page.layers.level0AtCentre")
    page.press("\ue014")  # arrow right
    page.settle()
    after = page.js("return page.layers.level0AtCentre")
    assert after["x"] > before["x"] and after["y"] == pytest.approx(before["y"])
    assert page.text("cell-title").lower() == "at the centre"
    page.press("?")
    assert page.js("return document.getElementById('help').open")
    page.press("\ue00c")  # escape
    assert not page.js("return document.getElementById('help').open")
    page.press("h")
    page.settle()
    assert not page.js("return document.getElementById('heat').checked")


CENTRE = (
    "const b = page.layers.viewer.container.getBoundingClientRect();"
    "return [b.left + b.width / 2, b.top + b.height / 2]"
)


def test_every_control_can_be_reached_and_has_a_name(page: Page) -> None:
    page.press("a")  # plain: the one with all controls
    page.settle()
    reached = []
    for _ in range(40):
        page.press("\ue004")  # tab
        reached.append(
            page.js(
                "const e = document.activeElement; if (e === document.body) return null;"
                "const label = e.labels && e.labels[0] ? e.labels[0].innerText : '';"
                ""
                "return [e.id || e.value || e.className,"
                "  e.getAttribute('aria-label') || label || e.innerText]"
            )
        )
    found = {one[0]: one[1] for one in reached if one}
    wanted = {"zoom-in", "zoom-out", "zoom-home", "plain", "map", "scale", "opacity", "heat"}
    assert wanted | {"regions", "grey", "glass", "next", "help-open"} <= set(found)
    assert any("openseadragon-canvas" in name for name in found)
    assert all(name.strip() for name in found.values()), found


def test_keys_leave_lists_and_sliders_alone(page: Page) -> None:
    before = page.js("return page.layers.level0AtCentre")
    page.js("document.getElementById('opacity').focus()")
    page.press("\ue014")
    assert page.text("opacity-text") == "55 %"
    page.settle()
    assert page.js("return page.layers.level0AtCentre") == before


def test_a_narrow_window_shows_everything_below_each_other(
    browser: Any, browsing: SimpleNamespace, server: ViewerServer
) -> None:
    browsing.resize(browser, (480, 900))
    page = Page(browser, browsing, server)
    assert page.js("return document.documentElement.scrollWidth") <= 480
    top = page.js("return document.getElementById('panel').getBoundingClientRect().top")
    assert top >= 300
    assert browsing.complaints(browser) == []
    browsing.resize(browser, browsing.SIZE)


def test_pixels_that_cannot_be_shown_are_said(
    page: Page, server: ViewerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(tile: object) -> None:
        raise PixelError("pixels cannot be decoded", where="slide.tiff")

    monkeypatch.setattr(server.site.pixels, "read", read)
    for _ in range(4):
        page.press("+")
    page.until(lambda: "could not be shown" in page.text("trouble"), "the trouble is said")
    page.settle()
    # These are meant: the browser's own lines on what was refused.
    assert page.browsing.complaints(page.browser)
