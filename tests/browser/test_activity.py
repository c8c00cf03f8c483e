"""The activity page and the dashboard in Chromium: the pictures draw, lead to tasks, follow the theme, and stop."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Route, expect

from tasks_app.audit import Actor, record
from tests.browser.conftest import WIDTHS, Open, Opened

pytestmark = [
    pytest.mark.long("a browser", seconds=60),
    pytest.mark.one_leg("what pages look like; what they read: tests/admin and tests/metrics"),
]

PAGE = "/admin/activity/"
PICTURES = ("outcomes", "queue", "oldest", "wait", "run", "slots", "runs")
#: The number of coloured pixels of a canvas: axes are grey.
COLOURED = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    const rgb = data.slice(at, at + 3);
    if (data[at + 3] > 200 && Math.max(...rgb) - Math.min(...rgb) > 60) found++;
  }
  return found;
}"""
#: Which pixels of a canvas are dark, without their colours.
SHAPE = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), dark = [];
  for (let at = 0; at < data.length; at += 4) {
    dark.push((data[at] + data[at + 1] + data[at + 2]) >> 7, data[at + 3] >> 7);
  }
  return dark.join("");
}"""
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""

#: Draws an age; answers the number of the pixels that the labels of its axis have.
LABELS = """async seconds => {
  const box = document.querySelector("[data-picture=oldest]"), series = [{label: "age", values: [seconds, seconds]}];
  taskdaemon.chart.draw(box, [1, 2], {title: "", unit: "seconds", kind: "lines", looks: [0], series});
  await new Promise(requestAnimationFrame);
  const canvas = box.querySelector("canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, 40, 150);
  return data.filter((value, at) => at % 4 === 3 && value).length;
}"""


def canvas(tab: Opened, picture: str) -> Locator:
    return tab.page.locator(f"[data-picture={picture}] .uplot canvas").first


@pytest.mark.parametrize("span", ["hour", "day", "week"])
def test_every_picture_draws(opened: Open, span: str) -> None:
    tab = opened()
    tab.go(f"{PAGE}?span={span}&handler=echo")
    for picture in PICTURES:
        canvas(tab, picture).wait_for()
        assert canvas(tab, picture).evaluate(COLOURED) > 50, picture
        label = tab.page.locator(f"[data-picture={picture}]").get_attribute("aria-label")
        assert label and "table below" in label


def test_a_picture_says_that_it_loads_until_it_is_drawn(opened: Open) -> None:
    tab, held = opened(), list[Route]()
    tab.page.route("**/trends/**", lambda route: held.append(route))
    for path in (PAGE, "/admin/"):
        tab.page.goto(f"{tab.base}{path}")
        expect(tab.page.locator("[data-picture=queue]")).to_have_text("Loading…")
        held.pop().continue_()
        canvas(tab, "queue").wait_for()
        expect(tab.page.get_by_text("Loading…")).to_have_count(0)


def test_a_screen_reader_gets_a_name_for_each_slot_and_no_clock(opened: Open) -> None:
    for script in (True, False):
        tab = opened(script=script)
        tab.page.goto(f"{tab.base}{PAGE}")
        if script:
            canvas(tab, "queue").wait_for()
        slots = tab.page.locator("#td-slots")
        for state in ("warm", "starting", "dead"):
            assert slots.get_by_role("img", name=f"{state} slot").count(), state
        expect(slots.get_by_role("link", name="slot, busy for")).to_have_count(1)
        expect(tab.page.locator("[role=status]:has(#td-updated), #td-updated[role=status]")).to_have_count(0)


def test_the_axis_of_an_age_has_labels_however_old_the_task_is(opened: Open) -> None:
    tab = opened()
    tab.go(PAGE)
    canvas(tab, "oldest").wait_for()
    for days in (0.001, 1, 240, 3000):
        assert tab.page.evaluate(LABELS, days * 86400) > 50, days


def test_a_long_name_in_the_latest_acts_leaves_the_other_columns_readable(opened: Open) -> None:
    record(Actor("admin", "sue"), "pause", "a" * 100)
    tab = opened(WIDTHS[0])
    tab.go("/admin/")
    moment = tab.page.locator("h2:text('Latest acts') + table td").first.bounding_box()
    assert moment and moment["height"] < 30


def test_an_outcome_differs_by_hatching_and_not_by_colour_alone(opened: Open) -> None:
    tab = opened()
    tab.go(PAGE)
    expect(tab.page.locator("[data-picture=outcomes] .td-legend")).to_contain_text("handler error")
    for picture in ("outcomes", "wait", "slots"):
        swatches = tab.page.locator(f"[data-picture={picture}] .td-swatch")
        shapes = [swatches.nth(place).evaluate(SHAPE) for place in range(swatches.count())]
        assert len(shapes) >= 3 and len(set(shapes)) == len(shapes), picture


def test_the_cursor_tells_the_values_at_its_time(opened: Open) -> None:
    tab = opened()
    tab.go(PAGE)
    legend = tab.page.locator("[data-picture=queue] .td-legend")
    expect(legend).to_contain_text("latest")
    canvas(tab, "queue").hover(position={"x": 150, "y": 60}, force=True)
    expect(legend).to_contain_text("until ")
    expect(tab.page.locator("[data-picture=outcomes] .td-legend")).to_contain_text("until ")


def test_a_click_on_a_run_leads_to_its_task(opened: Open, rows: dict[str, str]) -> None:
    tab = opened()
    tab.go(PAGE)
    over = tab.page.locator("[data-picture=runs] .u-over")
    over.wait_for()
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    tip = tab.page.locator(".td-tip")
    for x in range(int(box["width"]) - 10, 10, -12):  # the latest first: it is the nearest to its edge
        for y in range(10, int(box["height"]), 24):
            tab.page.mouse.move(box["x"] + x, box["y"] + y)
            if tip.is_visible():
                text = tip.inner_text()
                assert "echo: " in text and "attempt" in text
                tab.page.mouse.click(box["x"] + x, box["y"] + y)
                tab.page.wait_for_url(f"**/admin/tasks_app/task/{rows['failed']}/change/")
                return
    raise AssertionError("no run was found by the cursor")


def test_a_busy_slot_leads_to_its_task_and_the_others_say_what_they_are(opened: Open, rows: dict[str, str]) -> None:
    tab = opened()
    tab.go(PAGE)
    with tab.page.expect_response("**/slots/**"):
        pass
    strip = tab.page.locator("#td-slots")
    assert strip.locator(".td-slot-busy").get_attribute("href") == f"/admin/tasks_app/task/{rows['running']}/change/"
    assert (strip.locator(".td-slot-warm").count(), strip.locator(".td-slot-starting").count()) == (4, 1)
    assert strip.locator(".td-slot-dead").count() == 5
    expect(strip).to_contain_text("silent")
    expect(strip).to_contain_text("<script>alert(1)</script>\\u202e")


def test_a_hidden_tab_asks_for_nothing_and_a_shown_one_at_once(opened: Open) -> None:
    tab = opened()
    tab.page.clock.install()
    tab.go(PAGE)
    tab.page.evaluate(HIDE, True)
    tab.page.clock.run_for(100)  # what was on its way has arrived
    tab.page.wait_for_load_state("networkidle")
    tab.asked.clear()
    tab.page.clock.run_for(120_000)
    assert tab.asked == []
    with tab.page.expect_response("**/trends/**"), tab.page.expect_response("**/slots/**"):
        tab.page.evaluate(HIDE, False)
    with tab.page.expect_response("**/slots/**"):
        tab.page.clock.run_for(4_000)


@pytest.mark.parametrize("path", [PAGE, "/admin/"])
def test_a_change_of_the_theme_draws_again(opened: Open, path: str) -> None:
    tab = opened()
    tab.go(path)
    pixels = "canvas => canvas.toDataURL()"
    light = canvas(tab, "queue").evaluate(pixels)
    first = canvas(tab, "queue").element_handle()
    tab.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    tab.page.wait_for_function("old => !old.isConnected", arg=first)
    assert canvas(tab, "queue").evaluate(pixels) != light


def test_without_a_script_the_tables_have_the_figures(opened: Open) -> None:
    tab = opened(script=False)
    tab.page.goto(f"{tab.base}{PAGE}?span=day")
    assert tab.page.locator("details table tbody tr").count() > 100
    assert tab.page.locator("#td-slots .td-slot").count() > 5
    tab.page.locator("summary").first.click()
    expect(tab.page.locator("details table").first).to_contain_text("completed")
    expect(tab.page.locator("noscript p")).to_be_visible()


@pytest.mark.parametrize("path", [PAGE, "/admin/"])
def test_a_page_that_cannot_be_updated_says_so_at_its_top_until_it_can(opened: Open, path: str) -> None:
    tab = opened()
    tab.page.clock.install()
    tab.go(path)
    notice = tab.page.get_by_role("alert")
    expect(notice).to_have_count(0)
    cookies = tab.page.context.cookies()
    tab.page.context.clear_cookies()
    tab.page.clock.run_for(11_000)
    expect(notice).to_contain_text("Not updated since")
    assert tab.page.evaluate("document.getElementById('content').firstElementChild.id") == "td-stale"
    tab.page.context.add_cookies(cookies)  # type: ignore[arg-type]
    tab.page.clock.run_for(31_000)
    expect(notice).to_have_count(0)
    tab.console.clear()  # the browser's own notes on the redirects


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_lies_beside_the_screen(opened: Open, width: int, rows: dict[str, str]) -> None:
    tab = opened(width)
    lists = ("/admin/tasks_app/task/", f"/admin/tasks_app/task/{rows['failed']}/change/", "/admin/tasks_app/node/")
    for path in ("/admin/", PAGE, f"{PAGE}?span=week&handler=echo", *lists):
        tab.go(path)
        assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        hidden = tab.page.evaluate(
            """() => [...document.querySelectorAll("#content td, #content th, #content a, .td-error, .td-slot")]
            .filter(one => one.checkVisibility() && !one.closest("details, pre"))
            .map(one => [one, one.getBoundingClientRect()])
            .filter(([one, box]) => box.width && (box.right > innerWidth + 1 || box.left < -1))
            .map(([one]) => one.outerHTML.slice(0, 100))"""
        )
        assert hidden == [], path


def test_the_dashboard_follows_without_a_reload(opened: Open) -> None:
    tab = opened()
    tab.page.clock.install()
    tab.go("/admin/")
    tab.page.evaluate("window.stays = true")
    link = tab.page.locator("[data-fresh=tables] th a").first
    link.focus()
    before = link.element_handle()
    with tab.page.expect_response(lambda answer: answer.url.endswith("/admin/")):
        tab.page.clock.run_for(11_000)
    tab.page.wait_for_function("old => !old.isConnected", arg=before)
    expect(link).to_be_focused()
    expect(tab.page.locator("#td-updated")).to_contain_text("UTC")
    assert tab.page.evaluate("window.stays") is True
    assert tab.page.locator("[data-fresh] table").count() >= 2
