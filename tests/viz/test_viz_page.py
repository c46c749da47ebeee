"""The page: what is in the file, and what it does in a real browser."""

import base64
import hashlib
import html
import json
import re
import sys
import time
import types
import xml.etree.ElementTree as ET

import chromium
import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.explain import Explanation
from minigrad.graph import source
from minigrad.viz import colours
from tests.helpers import lstm_loss, stepped

needs_browser = pytest.mark.skipif(
    chromium.PATH is None, reason=f"none of {', '.join(chromium.NAMES)} is installed"
)
HOSTILE = "</script><img src=x onerror=hacked=1><b>&amp;'\"\\`${hacked=1}\u2028"


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.text, re.S)[1])


# ---- the file -----------------------------------------------------------------------------------


def test_the_page_is_small_and_its_policy_lets_nothing_else_run():
    page = viz.show(lstm_loss(3))
    content = re.search(r'id="data">(.*?)</script>', page.text, re.S)[1]
    assert len(page.text.encode()) - len(content) < 60_000
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page.text)[1]
    assert policy.startswith("default-src 'none'; img-src blob:; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.S)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert not re.search(r"(src|href)=|url\((?!#)|@import|https?://(?!www\.w3\.org/)", page.text)


def test_it_is_written_where_it_is_said(tmp_path, capsys):
    loss = lstm_loss(3)
    page = viz.show(loss, tmp_path / "graph.html")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8") == page.text
    assert re.fullmatch(r"<graph page, \d+ kB in .*graph\.html>", repr(page))
    assert "not saved" in repr(viz.show(loss))
    assert viz.show(loss).text == viz.show(loss).text
    assert capsys.readouterr().out == ""


def test_a_notebook_shows_it_in_a_sandbox():
    page = viz.show(lstm_loss(3))
    shown = page._repr_html_()
    assert re.match(
        r'<iframe srcdoc="[^"]*" sandbox="allow-scripts allow-downloads" style="[^"]*"></iframe>$',
        shown,
    )
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1]) == page.text


def test_histograms_are_for_small_graphs_or_on_request():
    loss = lstm_loss(3)
    assert data(viz.show(loss))["graph"]["histograms"]["grads"] is None
    assert data(viz.show(loss, grads=True))["graph"]["histograms"]["grads"]
    assert data(viz.show(loss, histograms=False))["graph"]["histograms"] is None
    assert data(viz.show(lstm_loss(130)))["graph"]["histograms"] is None


def test_without_a_graph_the_error_is_clear():
    with pytest.raises(RuntimeError, match=r"mg\.no_grad\(\)"), mg.no_grad():
        viz.show(lstm_loss(2))


# ---- in the browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    try:
        browser = chromium.Chromium()
    except (OSError, EOFError) as error:  # a stub without a browser behind it
        pytest.skip(f"{chromium.PATH} does not start: {error}")
    yield browser
    browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of a graph, with all open unless it is the first view that is looked at.

    Afterwards, nothing must have gone wrong or been asked for.
    """

    def open_page(outputs, first=False, **options):
        options = {"grads": True, **options}
        page = viz.show(outputs, tmp_path / "graph.html", **options)
        browser.send("Emulation.setEmulatedMedia", media="", features=[])
        browser.open(page.path)
        browser.js(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        if not first:
            browser.js("openTo(LOOK.level)")
        return data(page)["graph"]

    yield open_page
    assert browser.problems() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "blob:"))] == []


def ids(browser):
    return browser.js("[...document.querySelectorAll('#graph [data-id]')].map(e => e.dataset.id)")


def words(browser, selector):
    return browser.js(f"document.querySelector({json.dumps(selector)}).textContent")


def box(graph, title):
    """The key of the box with this title."""
    found = [k for k, b in graph["boxes"].items() if "".join(t for t, _ in b["title"]) == title]
    assert len(found) == 1, (title, found)
    return found[0]


def at(key):
    return f'#graph [data-id="{key}"]'


def touch(browser, key):
    """Bring a box into the window, and click on it."""
    browser.js(f"reveal(places.get({json.dumps(key)}))")
    browser.click(at(key))


@needs_browser
def test_it_opens_and_shows_every_box_and_none_covers_another(opened, browser):
    graph = opened(lstm_loss())
    assert browser.js("document.title") == "loss = sum"
    assert set(graph["boxes"]) <= set(ids(browser))
    scopes = [s["key"] for s in graph["scopes"][1:]]
    assert set(ids(browser)) == set(graph["boxes"]) | set(scopes)
    assert (
        browser.js("""(() => {
      const all = [...places.values()].filter((i) => !i.kids.length);
      const bad = [];
      const end = (i) => [i.left + i.w, i.top + i.h];
      for (const a of all) for (const b of all) {
        if (a !== b && a.left < end(b)[0] && b.left < end(a)[0]
          && a.top < end(b)[1] && b.top < end(a)[1]) bad.push([a.id, b.id]);
      }
      for (const a of all) for (let f = a.up; f.up; f = f.up) {
        if (a.left < f.left || a.top < f.top || end(a)[0] > end(f)[0] || end(a)[1] > end(f)[1])
          bad.push([a.id, f.id]);
      }
      return bad;
    })()""")
        == []
    )
    shown = browser.js("document.querySelector('#graph').textContent")
    for text in ("step ×77", "t = 0 … 76", "f = sigmoid", "h[t−1]", "t=0: zeros", "t=76", "[0]"):
        assert text in shown
    assert "1,3" in words(browser, "#side")  # nodes


@needs_browser
def test_arrows_go_down_and_states_are_marked(opened, browser):
    graph = opened(lstm_loss())
    assert browser.js("document.querySelectorAll('.wire.state').length") == 4
    assert browser.js("document.querySelectorAll('.wire.last').length") == len(graph["wires"])
    assert browser.js("""[...view.edges.values()].concat(...[...places.values()].map((i) =>
      [...i.edges.values()])).filter((e) => !e.flat).every((e) => {
        const n = e.path.getTotalLength();
        return e.path.getPointAtLength(0).y < e.path.getPointAtLength(n).y;
      })""")


@needs_browser
def test_scopes_open_and_close_by_mouse_and_key(opened, browser):
    graph = opened(lstm_loss())
    scopes = {s["title"]: s["key"] for s in graph["scopes"]}
    lstm, step = scopes["lstm: LSTM(2→3)"], scopes["step ×77"]
    before = ids(browser)
    touch(browser, lstm)  # selects
    assert words(browser, "#side h2") == "lstm: LSTM(2→3)"
    assert "84 parameters" in words(browser, "#side")
    touch(browser, lstm)  # closes
    assert step not in ids(browser)
    assert "▸ lstm: LSTM(2→3)" in words(browser, at(lstm))
    assert (
        browser.js(f"document.querySelector('{at(lstm)}').getAttribute('aria-expanded')") == "false"
    )
    assert browser.js("document.activeElement.dataset.id") == lstm
    browser.press("Enter")
    assert sorted(ids(browser)) == sorted(before)
    browser.press("c")
    assert step not in ids(browser)
    browser.press("e")
    assert sorted(ids(browser)) == sorted(before)


@needs_browser
def test_steps_are_unrolled_and_opened_one_by_one(opened, browser):
    graph = opened(lstm_loss())
    step = next(s["key"] for s in graph["scopes"] if s["title"] == "step ×77")
    browser.js("zoom.all = true; fit()")
    browser.click(f'[data-roll="{step}"]')
    steps = [i for i in ids(browser) if i.startswith(f"{step}@")]
    assert [s.rpartition(":")[2] for s in steps] == ["0", "1", "2", "3", "73", "74", "75", "76"]
    shown = browser.js("document.querySelector('#graph').textContent")
    assert "step[0]" in shown
    assert "70 more" in shown
    assert browser.js("document.querySelectorAll('.wire.state.last').length") == 7
    touch(browser, f"{step}@{step}:76")
    sigmoid = box(graph, "f = sigmoid")
    inside = at(f"{sigmoid}@{step}:76")
    members, grads = graph["boxes"][sigmoid]["members"], graph["grads"]["rms"]
    assert browser.js(f"num({grads[members[76]]})") in words(browser, inside)
    touch(browser, f"{step}@{step}:3")  # the gap: looks at its middle
    assert f"{step}@{step}:38" in ids(browser)
    browser.js("zoom.all = true; fit()")
    browser.click(f'[data-roll="{step}"]')
    assert "@" not in "\n".join(ids(browser))


@needs_browser
def test_wires_of_an_unrolled_loop_lead_where_they_should(opened, browser):
    hs = stepped()
    graph = opened(mg.stack([hs[1], hs[3]]).sum())
    step = graph["scopes"][1]["key"]
    browser.js(f"roll('{step}')")
    ends = browser.js("""[view, ...places.values()].flatMap((i) => [...i.edges.values()])
      .filter((e) => e.last).map((e) => e.from.id + ' ' + e.to.id)""")
    stack = box(graph, "stack(axis=0)")
    one = lambda k: f"{step}@{step}:{k}"
    assert sorted(e for e in ends if e.endswith(stack)) == [
        f"{one(1)} {stack}",
        f"{one(3)} {stack}",
    ]
    assert [e for e in ends if e.startswith(f"{step}@") and stack not in e] == [
        f"{one(k)} {one(k + 1)}" for k in range(3)
    ]
    assert sum(e.startswith(box(graph, "w")) for e in ends) >= 1
    assert len(browser.js(f"[...places.get('{step}').edges.values()].map(e => e.b.id)")) >= 7


@needs_browser
def test_wires_from_round_to_round_lead_from_each_to_its_own(opened, browser):
    w = h = mg.tensor(np.ones(3), requires_grad=True, name="w")
    hs, out = [], 0.0
    for t in range(4):
        with mg.scope("enc", t):
            h = np.tanh(h * w)
        hs.append(h)
    for t in range(4):
        with mg.scope("dec", t):
            out = out + np.exp(hs[3 - t]).sum()
    graph = opened(out)
    for title in ("enc ×4", "dec ×4"):
        (scope,) = [s for s in graph["scopes"] if s["title"] == title]
        browser.js(f"roll({json.dumps(scope['key'])})")
    exp = box(graph, "exp")
    (enc, dec) = [s["key"] for s in graph["scopes"] if s["title"] in ("enc ×4", "dec ×4")]
    pairs = browser.js(f"""(() => {{
      const pairs = new Set();
      const walk = (i) => {{ i.edges.forEach((e) => {{
        const to = e.to.reps[{json.dumps(dec)}], from = e.from.reps[{json.dumps(enc)}];
        if (to !== undefined && from !== undefined) pairs.add(from + " " + to);
      }}); i.kids.forEach(walk); }};
      walk(view);
      return [...pairs].sort();
    }})()""")
    assert exp
    assert pairs == ["0 3", "1 2", "2 1", "3 0"]


@needs_browser
def test_the_inspector_shows_the_numbers(opened, browser):
    with mg.debug():
        loss = lstm_loss()
    graph = opened(loss)
    key = box(graph, "f = sigmoid")
    touch(browser, key)
    side = words(browser, "#side")
    assert "lstm: LSTM(2→3) › step ×77" in side
    assert "sigmoid (4, 3) float32" in side
    assert "helpers.py, line" in side
    nodes = graph["boxes"][key]["members"]
    browser.js("(e => {e.value = 5; e.dispatchEvent(new Event('input'))})"
               "(document.querySelector('#side input'))")  # fmt: skip
    rows = browser.js("[...document.querySelectorAll('#side tr')].map(r => "
                      "[...r.children].map(c => c.textContent))")  # fmt: skip
    table = {row[0]: row[1:] for row in rows}
    for name, field in (("rms", "rms"), ("min", "min"), ("max", "max")):
        expected = [graph[m][field][nodes[5]] for m in ("values", "grads")]
        assert table[name] == browser.js(f"[{expected[0]}, {expected[1]}].map(x => num(x, 4))")
    assert table["zeros"] == ["0", "0"]
    assert table["size"] == ["12", "12"]
    assert browser.js("document.querySelectorAll('#side .chart').length") == 3  # time, histograms
    counts = graph["histograms"]["values"][nodes[5]][2]
    assert browser.js("document.querySelectorAll('#side rect.values').length") == len(counts)
    assert words(browser, "#side output") == "= 5"
    assert browser.js("moment[Object.keys(moment)[0]]") == 5


@needs_browser
def test_parameters_are_in_the_inspector(opened, browser):
    graph = opened(lstm_loss(5))
    touch(browser, box(graph, "matmul · weight_hh_l0ᵀ"))
    assert "weight_hh_l0 (12, 3)" in words(browser, "#side")


@needs_browser
@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("tanh", lambda f, v, g: f["op"] == "tanh"),
        ("SIGMOID", lambda f, v, g: f["op"] == "sigmoid"),
        ("(4, 3)", lambda f, v, g: f["shape"] == [4, 3]),
        ("(4,3)", lambda f, v, g: f["shape"] == [4, 3]),
        ("f = sigmoid", lambda f, v, g: f["name"] == "f"),
        ("f=sigmoid float32", lambda f, v, g: f["name"] == "f"),
        ("lstm/step: f = sigmoid", lambda f, v, g: f["name"] == "f"),
        ("LSTM(2→3) tanh", lambda f, v, g: f["op"] == "tanh"),
        ("(12,)", lambda f, v, g: f["shape"] == [12]),
        ("weight_ih_l0ᵀ", lambda f, v, g: f["op"] == "matmul" and f["shape"] == [20, 4, 12]),
        ("grad < 1e-6", lambda f, v, g: g is not None and g < 1e-6),
        ("tanh grad>=1e-6", lambda f, v, g: f["op"] == "tanh" and g >= 1e-6),
        ("value > 0.5 value <= 0.6", lambda f, v, g: v is not None and 0.5 < v <= 0.6),
        ("zero", lambda f, v, g: g == 0),
        ("nonfinite", lambda f, v, g: False),
    ],
)  # fmt: skip
def test_search(opened, browser, query, matches):
    graph = opened(lstm_loss(20))
    forms = [graph["forms"][k] for k in graph["nodes"]["form"]]
    rows = zip(forms, graph["values"]["rms"], graph["grads"]["rms"], strict=True)
    expected = sum(bool(matches(*row)) for row in rows)
    browser.click("#search")
    for letter in query:
        browser.press(letter)
    assert words(browser, "#count") == f"{expected} of {len(forms)}"
    assert browser.js("document.querySelectorAll('.hit').length > 0") == (expected > 0)
    browser.press("Enter")
    if expected:
        assert browser.js("places.get(selected).node.classList.contains('hit')")
    browser.press("Escape")
    assert browser.js("document.querySelectorAll('.hit, .miss').length") == 0
    assert words(browser, "#count") == ""


@needs_browser
def test_a_time_is_found(opened, browser):
    graph = opened(lstm_loss(20))
    find = lambda query: browser.js(f"search({query!r})")
    gate = graph["boxes"][box(graph, "f = sigmoid")]["members"]
    assert find("f = sigmoid t=5") == [[gate[5]], []]
    assert find("lstm/step: f = sigmoid, t=7") == [[gate[7]], []]
    assert find("sigmoid t >= 18")[0] == sorted(
        k for name in "fio" for k in graph["boxes"][box(graph, f"{name} = sigmoid")]["members"][18:]
    )
    assert find("t=500") == [[], []]
    browser.js("lookFor('f = sigmoid t=5'); nextHit(1)")
    assert words(browser, "#side output") == "= 5"


@needs_browser
@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("tanh grad < small", "grad < small is not understood"),
        ("tanh grad <", "grad < is not understood"),
        ("size > 3", "size > 3 is not understood"),
        ("k < 3", "k < 3 is not understood: no loop here counts k"),
        ("error < 1", "no error is known here"),
        ("tanh nobody", "no nobody is here"),
    ],
)
def test_what_is_not_understood_is_said(opened, browser, query, answer):
    opened(lstm_loss(3))
    browser.js(f"lookFor({query!r})")
    assert words(browser, "#count").split("; ") == [words(browser, "#count").split(";")[0], answer]
    assert words(browser, "#count").startswith("0 of ")
    assert answer in words(browser, "#side")


@needs_browser
def test_a_hit_in_a_closed_scope_is_marked_and_found(opened, browser):
    graph = opened(lstm_loss(20))
    browser.press("c")
    browser.press("/")
    for letter in "tanh":
        browser.press(letter)
    assert browser.js("[...document.querySelectorAll('.hit')].map(e => e.dataset.id)") == ["c1"]
    browser.press("Enter")
    assert browser.js("selected") == box(graph, "g = tanh")


@needs_browser
def test_what_is_not_finite_is_listed_and_found(opened, browser):
    x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        loss = mg.log(x).sum()
    graph = opened(loss)
    assert "not finite" in words(browser, "#side")
    assert "value of" in words(browser, "#side")
    assert "! value: 1 of 2 not finite" in words(browser, at(box(graph, "log")))
    browser.js("lookFor('nonfinite')")
    assert words(browser, "#count") == "3 of 3"


@needs_browser
def test_the_heat_map(opened, browser):
    graph = opened(lstm_loss())
    assert words(browser, "#heattitle").startswith("rms gradient, operation by t, in lstm")
    rows = browser.js("heat.rows.map(r => plain(r.box))")
    assert "f = sigmoid" in rows
    assert [
        b for b in graph["boxes"].values()
        if b["kind"] == "operation" and len(b["members"]) != 1
        and "".join(t for t, _ in b["title"]) not in rows
    ] == []  # fmt: skip
    scale, points = browser.js("LOOK.scales.grads"), [("f = sigmoid", 0, 0.1)]
    points += [("g = tanh", 0, 0.5), ("g = tanh", 40, 0.5), ("h = multiply", 76, 0.5)]
    wanted = [colours.ZERO]
    for title, t, _ in points[1:]:
        rms = graph["grads"]["rms"][graph["boxes"][box(graph, title)]["members"][t]]
        place = (np.log10(rms) - scale["low"]) / (scale["high"] - scale["low"])
        wanted.append(colours.blend(scale["palette"], min(1, max(0, place))))
    assert pixels(browser, [(rows.index(title), t + dx) for title, t, dx in points]) == wanted
    assert browser.js("heat.rows.every(r => r.word === '▼ vanishes')")
    browser.js("document.querySelector('#heatmap').scrollIntoView()")
    x, y = browser.js(f"""(b => [b.x + heat.left + 12.5 * heat.wide,
      b.y + ({rows.index("g = tanh")} + 0.5) * heat.high])(heatmap.getBoundingClientRect())""")
    browser.mouse(x, y)
    assert browser.js("selected") == box(graph, "g = tanh")
    assert words(browser, "#side output") == "= 12"
    assert "t = 12" in words(browser, "#heatsay")
    browser.js("document.querySelector('#heatmap').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    assert words(browser, "#side output") == "= 13"
    assert browser.js("selected") == box(graph, rows[rows.index("g = tanh") + 1])
    browser.press("Escape")
    browser.js("document.activeElement.blur()")
    browser.press("h")
    assert browser.js("document.querySelector('#heat').hidden")


def pixels(browser, points):
    """The colours in the heat map at (row, repetition), a little below the upper edge."""
    found = browser.js(f"""(() => {{
      const c = document.querySelector('#heatmap'), d = c.getContext('2d').getImageData(0, 0,
        c.width, c.height).data;
      return {json.dumps(points)}.map(([row, at]) => {{
        const x = (heat.left + at * heat.wide) * devicePixelRatio | 0;
        const k = 4 * (((row * heat.high + 2) * devicePixelRatio | 0) * c.width + x);
        return [...d.slice(k, k + 3)];
      }});
    }})()""")
    return ["#" + "".join(f"{c:02x}" for c in colour) for colour in found]


@needs_browser
def test_the_heat_map_of_a_long_loop_is_whole_and_shows_the_worst(opened, browser):
    """More steps than pixels: each column is the worst of several, and the loss end is there."""
    h = w = mg.tensor(np.array([0.99]), requires_grad=True, name="w")
    for t in range(3000):
        with mg.scope("step", t):
            h = mg.multiply(h, w)
    opened(h.sum(), histograms=False)
    assert browser.js(
        "heat.left + heat.fold.moments.length * heat.wide + 180 < heatmap.clientWidth"
    )
    assert "a column is the worst of" in words(browser, "#heattitle")
    first, last = pixels(browser, [(0, 20.5), (0, 2990)])
    assert first != last
    browser.js("heatSay({row: 0, rep: 20})")
    assert "t = 20, in " in words(browser, "#heatsay")
    browser.js("heat.some = 3")
    values = [1.0] * 3000
    values[1], values[1500] = 1e-3, 0.0
    shown = browser.js(f"heatCells({values})")
    assert [c["sign"] for c in shown] == ["", "0", ""]
    assert shown[0]["colour"] != shown[2]["colour"]


@needs_browser
def test_costs_colour_the_picture_and_stand_in_the_inspector(opened, browser):
    loss = lstm_loss(20)
    graph = opened(loss, time=True)
    modes = browser.js("[...document.querySelector('#mode').options].map(o => o.value)")
    assert modes == ["grads", "values", "time", "flops", "bytes", "kept"]
    assert graph["times"]["backward"]
    whole = viz.summary(loss, cost=True, width=140).splitlines()
    (line,) = [row for row in whole if row.startswith("forward: ")]
    for value, name in (("flops", "FLOPs"), ("kept", "bytes kept")):
        browser.js(f"mode = '{value}'; again(null); drawLegend(); select(null)")
        total = browser.js(f"spell(LOOK.totals.{value}, '{value}')")
        assert f"{total} FLOPs" in line if value == "flops" else f"{total} kept" in line
        assert total in words(browser, "#side")
        assert f"share of {name}" in words(browser, "#legend")
        assert "≤ 0.1 %" in words(browser, "#legend")
        key = box(graph, "matmul · weight_hh_l0ᵀ")
        each = graph["forms"][graph["nodes"]["form"][graph["boxes"][key]["node"]]][value]
        share = browser.js(f"num(100 * {20 * each} / LOOK.totals.{value}, 3)")
        assert f"{share} %" in words(browser, f'[data-id="{key}"]')
        touch(browser, key)
        assert f"{share} %" in words(browser, "#side")
        assert f"in {(4, 3)}, {(3, 12)}" in words(browser, "#side")
        parts = browser.js("[...places.values()].filter(i => i.box && !i.kids.length)"
                           ".map(i => costOf(spent(i))).reduce((a, b) => a + b)")  # fmt: skip
        assert parts == browser.js(f"LOOK.totals.{value}"), "every cost is in one box"
    shut = browser.js("openTo(0); [...places.values()].map(i => costOf(spent(i)))"
                      ".reduce((a, b) => a + b)")  # fmt: skip
    assert shut == browser.js("LOOK.totals.kept")


@needs_browser
def test_in_the_colours_of_time_the_slow_operation_is_first(opened, browser):
    def slow(x):
        time.sleep(0.01)
        return x * 1

    x = mg.tensor(np.ones(3), requires_grad=True)
    y = mg.custom_vjp(slow, lambda g, z, x: g)(np.tanh(x))
    graph = opened(np.exp(y).sum(), time=True)
    key = box(graph, "slow")
    browser.js("document.querySelector('#mode').value = 'time';"
               "document.querySelector('#mode').dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.js("document.querySelector('#side .link:not(h3 ~ *)') === null") is False
    first = browser.js("[...document.querySelectorAll('#side h3')].find(h => h.textContent =="
                       "'share of time').nextSibling.rows[1].textContent")  # fmt: skip
    assert first.startswith("slow")
    assert " ms" in first
    browser.js("lookFor('time > 0.009')")
    assert browser.js("[...hits]").count(graph["boxes"][key]["node"]) == 1
    assert words(browser, "#count") == f"1 of {len(graph['nodes']['form'])}"
    touch(browser, key)
    assert "forward 1" in words(browser, "#side")


@needs_browser
def test_of_an_unrolled_loop_only_the_steps_that_fit_are_found(opened, browser):
    graph = opened(lstm_loss(20))
    title = box(graph, "g = tanh")
    grads = [graph["grads"]["rms"][k] for k in graph["boxes"][title]["members"]]
    bound = sorted(grads)[6]
    browser.js("roll(heatFolds()[0].key)")
    browser.js("[...places.values()].filter(i => i.kind === 'step').forEach(flip); build(); fit()")
    browser.js(f"lookFor('tanh grad < {bound!r}')")
    steps = browser.js(f"""[...places.values()].filter(i => i.key === {title!r}
      && i.node.classList.contains('hit')).map(i => Object.values(i.reps)[0])""")
    assert steps == [k for k, g in enumerate(grads) if g < bound]


@needs_browser
def test_over_a_comparison_nothing_is_said_of_gradients(opened, browser):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = mg.tanh(x)
    opened(y.sum(), grads=None, agreement={y: 0.25})
    assert "not computed" not in words(browser, "#side")


@needs_browser
def test_exploding_gradients_are_named(opened, browser):
    h = w = mg.tensor(np.full(3, 1.5), requires_grad=True, name="w")
    for t in range(40):
        with mg.scope("step", t):
            h = h * w
    opened(h.sum())
    assert set(browser.js("heat.rows.map(r => r.word + ' ' + r.factor)")) == {
        "▲ explodes ×1.5 per step back"
    }


@needs_browser
def test_before_backward_gradients_are_not_computed(opened, browser):
    graph = opened(lstm_loss(5), grads=None)
    assert "Gradients are not computed" in words(browser, "#side")
    touch(browser, box(graph, "g = tanh"))
    assert "not computed" in words(browser, "#side table")
    modes = browser.js("[...document.querySelectorAll('#mode option')].map(o => o.value)")
    assert modes == ["values", "flops", "bytes", "kept"]


@needs_browser
def test_names_are_text_and_nothing_else(opened, browser):
    x = mg.tensor(np.ones(3), requires_grad=True, name=HOSTILE)
    with mg.scope(HOSTILE), mg.scope(HOSTILE, 1):
        y = x * 2.0
    for k in range(4):
        with mg.scope(HOSTILE + "'", k):
            y = mg.tanh(y)
    y.name = HOSTILE
    graph = opened({"a": y, "b": y.sum()}, grads=[np.ones(3), 1.0], agreement={y: (0.5, HOSTILE)})
    for key in [s["key"] for s in graph["scopes"][1:]] + [*graph["boxes"]]:
        browser.js(f"select('{key}')")
    browser.js("select(null); lookFor('<b>'); drawHeat(); heatSay({row: 0, rep: 0})")
    assert browser.js("typeof hacked") == "undefined"
    assert browser.js("document.querySelectorAll('img, b:not(#heattitle)').length") == 0
    shown = browser.js("document.querySelector('#graph').textContent")
    assert shown.count("</script><img src=x onerror=hacked=1><b>&amp;'\"\\`${hacked") >= 4


@needs_browser
def test_the_policy_forbids_other_scripts_and_requests(browser, tmp_path):
    browser.open(viz.show(lstm_loss(2), tmp_path / "graph.html").path)
    browser.js("""(() => {
      const s = document.createElement('script');
      s.textContent = 'hacked = 1';
      document.body.append(s);
      document.body.setAttribute('onclick', 'hacked = 1'); document.body.click();
      document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="hacked = 1">');
    })()""")
    with pytest.raises(RuntimeError, match="Failed to fetch"):
        browser.js("fetch('https://example.com/')")
    assert browser.js("typeof hacked") == "undefined"
    assert sum("Content Security Policy" in str(p) for p in browser.problems()) >= 3
    assert [url for url in browser.requests() if url.startswith("http")] == []


@needs_browser
def test_in_a_sandboxed_frame(browser, tmp_path):
    page = viz.show(lstm_loss(5), grads=True)
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><body>{page._repr_html_()}", encoding="utf-8"
    )
    browser.send(
        "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True
    )
    browser.open(tmp_path / "notebook.html")
    attached = [e["params"] for e in browser.events if e["method"] == "Target.attachedToTarget"]
    if attached:  # it has a process of its own
        where = {"session": attached[-1]["sessionId"]}
    else:
        frames = browser.send("Page.getFrameTree")["frameTree"]["childFrames"]
        world = browser.send("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])
        where = {"contextId": world["executionContextId"]}
    assert "lstm: LSTM(2→3)" in browser.js("document.querySelector('#graph').textContent", **where)
    assert browser.js("document.querySelector('#graph').clientWidth", **where) > 300
    assert browser.js("document.querySelector('#side h2').textContent", **where) == "loss = sum"
    assert browser.problems() == []
    browser.send(
        "Target.setAutoAttach", autoAttach=False, waitForDebuggerOnStart=False, flatten=True
    )


@needs_browser
def test_dark_light_and_print(opened, browser):
    opened(lstm_loss(5))
    back = "getComputedStyle(document.body).backgroundColor"
    for scheme, colour in (("dark", "rgb(11, 17, 32)"), ("light", "rgb(248, 250, 252)")):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.send("Emulation.setEmulatedMedia", features=[feature])
        assert browser.js(back) == colour
    browser.press("t")
    assert browser.js(back) == "rgb(11, 17, 32)"
    browser.press("t")
    assert browser.js(back) == "rgb(248, 250, 252)"
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.send("Emulation.setEmulatedMedia", media="print")
    browser.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    x, y, w, h = map(
        float, browser.js("document.querySelector('#graph').getAttribute('viewBox')").split()
    )
    assert x <= 0
    assert y <= 0
    assert [w, h] >= browser.js("[view.w, view.h]")
    assert browser.js("getComputedStyle(document.querySelector('#side')).display") == "none"
    assert len(browser.send("Page.printToPDF")["data"]) > 10_000


@needs_browser
def test_keys_pan_and_zoom(opened, browser):
    graph = opened(lstm_loss(5))
    before = browser.js("zoom.k")
    browser.press("+")
    assert browser.js("zoom.k") > before
    browser.press("-")
    browser.press("0")
    assert browser.js("zoom.k") == before
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=400, y=300, deltaX=0, deltaY=-100)
    browser.js("new Promise(requestAnimationFrame)")
    assert browser.js("zoom.k") > before
    x = browser.js("zoom.x")
    for kind, at_x in (("mousePressed", 300), ("mouseMoved", 350), ("mouseReleased", 350)):
        browser.send("Input.dispatchMouseEvent", type=kind, x=at_x, y=90, button="left", buttons=1)
    assert browser.js("zoom.x") < x
    browser.press("?")
    assert browser.js("document.querySelector('#help').open")
    assert browser.js("document.activeElement.closest('#help') !== null")
    browser.press("Escape")
    assert not browser.js("document.querySelector('#help').open")
    browser.press("ArrowDown")
    first = browser.js("selected")
    browser.press("ArrowDown")
    assert browser.js("selected") != first
    browser.press("ArrowUp")
    assert browser.js("selected") == first
    assert browser.js("document.activeElement.dataset.id") == first
    assert first in graph["boxes"] or first.startswith("c")


@needs_browser
def test_agreement_worst_first(opened, browser):
    loss = lstm_loss(6)
    nodes = mg.Graph(loss).nodes
    errors = {n.tensor: 1e-13 for n in nodes if n.op}
    gates = [n.tensor for n in nodes if n.name == "f"]
    errors[gates[3]] = 0.3, "the derivative of sigmoid is missing"
    graph = opened(loss, agreement=errors)
    assert words(browser, "#mode option") == "relative error"
    side = words(browser, "#side")
    assert side.index("worst first") < side.index("0.3") < side.index("1e−13")
    browser.click("#side table .link")
    key = box(graph, "f = sigmoid")
    assert browser.js("selected") == key
    assert words(browser, "#side output") == "= 3"
    assert "the derivative of sigmoid is missing" in words(browser, "#side")
    cells = browser.js(
        f"[...document.querySelectorAll('{at(key)} .cell')].map(c => c.getAttribute('fill'))"
    )
    scale = browser.js("LOOK.scales.errors")
    assert cells[3] == scale["palette"][-1]
    assert len(set(cells)) == 2
    assert scale["ends"] == ["≤ 1e−3", "0.3"]  # from the tolerance in float32 to the worst
    assert words(browser, "#said").startswith("The largest relative error is 0.3, at lstm/step: f")
    browser.js("document.querySelector('#mode').value = 'grads';"
               "document.querySelector('#mode').dispatchEvent(new Event('change'))")  # fmt: skip
    assert "rms gradient" in words(browser, "#legend")


def wrong_report():
    """A hand-written backward pass of a recurrence, in which one line has the wrong step."""

    def forward(p):
        h = p["h0"]
        for x in p["x"]:
            h = np.tanh(h * p["w"] + x)
        return (h**2).sum()

    def backward(p):
        hs = [p["h0"]]
        for x in p["x"]:
            hs.append(np.tanh(hs[-1] * p["w"] + x))
        dh, dw, dx = 2 * hs[-1], np.zeros_like(p["w"]), np.zeros_like(p["x"])
        for t in reversed(range(len(p["x"]))):
            da = dh * (1 - hs[t + 1] ** 2)
            dw += da * hs[t + 1]
            dx[t] = da
            dh = da * p["w"]
        return {"w": dw, "x": dx, "h0": dh}

    rng = np.random.default_rng(0)
    inputs = {"w": rng.normal(size=3), "x": rng.normal(size=(5, 3)), "h0": rng.normal(size=3)}
    return mg.compare_backward(forward, backward, inputs)


@needs_browser
def test_the_page_of_a_comparison_says_what_is_wrong_and_marks_the_box(browser, tmp_path):
    report = wrong_report()
    (why, *_) = report.explain()
    assert why.statement == "dw += da * hs[t + 1]"
    page = report.show(tmp_path / "graph.html")
    browser.open(page.path)
    said = browser.js("[...document.querySelectorAll('#said p')].map(p => p.textContent)")
    assert said[0] == why.sentence.replace("`", "") + " show the box"
    assert said[1] == f"{why.place} {why.statement}"
    assert said[2] == report.summary
    marked = browser.js(
        "[...places.values()].filter(i => i.node.matches('.guilty')).map(i => i.id)"
    )
    assert len(marked) == 1
    assert browser.js("document.querySelectorAll('.badge').length") == 1
    browser.click("#said .link")
    assert browser.js("selected") == marked[0]
    browser.press("c")  # the mark stands on what holds the box
    assert browser.js("document.querySelectorAll('.guilty .frame').length") == 1
    worst = max(row.max_rel for row in report.rows)
    scale = browser.js("LOOK.scales.errors")
    assert scale["low"] == -10
    assert scale["high"] >= np.log10(worst)
    modes = browser.js("[...document.querySelectorAll('#mode option')].map(o => o.value)")
    assert modes[:3] == ["errors", "grads", "values"]
    assert browser.problems() == []


@needs_browser
def test_whatever_a_remark_is_about_has_a_box(opened, browser):
    loss = lstm_loss(3)
    nodes = mg.Graph(loss).nodes
    opened(loss, first=True, remarks=[("Here.", "", n.tensor) for n in nodes])
    assert browser.js("GUILTY.length") == len(nodes)
    assert browser.js("GUILTY.every(shownBy)")
    assert browser.js("document.querySelectorAll('#said .link').length") == len(nodes)


def test_remarks_are_of_the_graph_and_a_tolerance_is_small():
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = mg.tanh(x)
    said = data(viz.show(y, agreement={y: 0.5}, remarks=[("Here.", "y = x", y)], tolerance=0.01))
    assert said["look"]["said"] == [["Here.", "y = x", 1]]
    assert said["look"]["scales"]["errors"]["low"] == -2
    assert data(viz.show(y))["look"]["said"] == []
    assert data(viz.show(y, agreement={y: 1e-12}))["look"]["said"] == []
    with pytest.raises(ValueError, match="'z' of 'There' is not a node"):
        viz.show(y, remarks=[("There", "", mg.tensor([1.0], name="z"))])
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        viz.show(y, tolerance=2)


def test_a_notebook_shows_the_explanation_above_the_table():
    report = wrong_report()
    shown = report._repr_html_()
    assert html.escape(report.explain()[0].sentence) in shown
    assert "dw += da * hs[t + 1]" in shown
    assert shown.index("<b>") < shown.index("<th>entry")


def test_a_place_in_a_notebook_names_the_cell(monkeypatch):
    shell = types.SimpleNamespace(compile=types.SimpleNamespace(
        format_code_name=lambda name: ("Cell", "In[3]") if name == "cells/12.py" else None
    ))  # fmt: skip
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert source.spot("cells/12.py", 4) == "cell 3, line 4"
    assert source.spot("cells/net.py", 4) == "net.py:4"
    code = "def f(x):\n    return mg.tanh(x)\ny = f(x)"
    space = {"mg": mg, "x": mg.tensor([1.0], requires_grad=True)}
    with mg.debug():
        exec(compile(code, "cells/12.py", "exec"), space)
    assert str(source.place_of(space["y"])).startswith("cell 3, line 2, in f")
    (line,) = {f["line"] for f in data(viz.show(space["y"]))["graph"]["forms"] if f["line"]}
    assert line.startswith("cell 3, line 2, in f")
    assert Explanation("cells/12.py", 4, "", "sign", "Wrong.").place == "cell 3, line 4"


@needs_browser
def test_large_graphs_open_at_once_and_part_by_part(opened, browser):
    graph = opened(lstm_loss(590))
    assert len(graph["nodes"]["form"]) > 10_000
    assert browser.js("performance.now()") < 5000  # 0.3 s; wide, for busy machines
    rng, y = np.random.default_rng(0), mg.tensor([1.0], requires_grad=True, name="x")
    for k in rng.integers(3, size=5000):
        y = (mg.tanh(y), mg.sin(y), y * 1.01)[k]
    graph = opened(y, fold=False)
    shown = ids(browser)
    assert len(shown) < 60
    assert "▸ 1 … 126" in words(browser, at(shown[0]))
    touch(browser, shown[1])
    assert len(ids(browser)) > len(shown)
    browser.js("lookFor('tanh'); nextHit(1)")
    assert graph["boxes"][browser.js("selected")]["title"] == [["tanh", "name"]]


# ---- at first view, on any screen, by anyone -----------------------------------------------------


@pytest.fixture
def screen(browser):
    """Give the window another size; afterwards it is as it was."""
    yield lambda w, h, **more: browser.send(
        "Emulation.setDeviceMetricsOverride", width=w, height=h, deviceScaleFactor=1,
        **{"mobile": False} | more,
    )  # fmt: skip
    browser.send("Emulation.clearDeviceMetricsOverride")
    browser.send("Emulation.setTouchEmulationEnabled", enabled=False)


def shown_whole(browser):
    return browser.js("whole() >= READABLE && zoom.k * 10 >= 9")


@needs_browser
@pytest.mark.parametrize("size", [(1400, 900), (700, 800), (390, 780)])
def test_at_first_it_can_be_read_and_the_loss_is_in_view(opened, browser, screen, size):
    screen(*size)
    graph = opened(lstm_loss(), first=True)
    assert shown_whole(browser)
    assert browser.js(f"""(({{node}}, f) => {{
      const b = node.getBoundingClientRect();
      return b.top >= f.top && b.bottom <= f.bottom && b.left >= f.left && b.right <= f.right;
    }})(places.get({box(graph, "loss = sum")!r}), frame())""")
    assert browser.js("[...document.querySelectorAll('.more')].every(b => b.hidden)")
    assert browser.js("document.documentElement.scrollWidth") <= size[0]
    assert browser.js("frame().height") > 0.5 * size[1]


@needs_browser
def test_where_there_is_more_it_is_said(opened, browser):
    opened(lstm_loss(20))
    more = lambda: browser.js(
        "[...document.querySelectorAll('.more')].filter(b => !b.hidden).map(b => b.dataset.side)"
    )
    assert more() == ["below"]
    browser.click("[data-side=below]")
    assert more()[0] == "above"
    browser.press("0")
    assert browser.js("zoom.k") >= 0.9
    browser.press("0")
    assert browser.js("zoom.k") < 0.9
    assert more() == []


@needs_browser
def test_two_fingers_zoom_one_pans_and_buttons_are_large(opened, browser, screen):
    screen(390, 780, mobile=True)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    graph = opened(lstm_loss(5))

    def touched(kind, *points):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
        browser.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    key = box(graph, "loss = sum")
    browser.js(f"reveal(places.get({key!r}))")
    middle = browser.js("(b => [b.x + b.width / 2, b.y + b.height / 2])"
                        f"(places.get({key!r}).node.getBoundingClientRect())")  # fmt: skip
    touched("touchStart", middle)
    touched("touchEnd")
    assert browser.js("selected") == key
    k, x = browser.js("[zoom.k, zoom.x]")
    touched("touchStart", (150, 300))
    touched("touchMove", (100, 300))
    touched("touchMove", (90, 300))
    touched("touchEnd")
    assert browser.js("zoom.k") == k
    assert browser.js("zoom.x") > x
    touched("touchStart", (150, 300), (200, 300))
    for d in (10, 20, 30, 40):
        touched("touchMove", (150 - d, 300), (200 + d, 300))
    touched("touchEnd")
    assert browser.js("zoom.k") > 2 * k
    size = browser.js("(b => [b.width, b.height])(document.querySelector('#zoom button')"
                      ".getBoundingClientRect())")  # fmt: skip
    assert min(size) >= 44
    k = browser.js("zoom.k")
    browser.click("#zoom [data-key='-']")
    assert browser.js("zoom.k") < k
    browser.press("h")  # most of the width is the map's
    assert browser.js("heat.wide * heat.fold.moments.length / heatmap.clientWidth") > 0.5


@needs_browser
def test_tab_brings_into_view_space_opens_and_the_dialog_returns_focus(opened, browser):
    opened(lstm_loss(5))
    browser.js("moved({x: 0, y: 0, k: 2, fitted: false}); $('graph').querySelector('g g').focus()")
    for _ in range(12):
        browser.press("Tab")
        assert browser.js("""(() => {
          const b = document.activeElement.getBoundingClientRect(), f = frame();
          return document.activeElement.dataset.id && b.top < f.bottom && b.bottom > f.top
            && b.left < f.right && b.right > f.left;
        })()""")
    browser.press("c")
    scope = next(i for i in ids(browser) if i.startswith("c"))
    browser.js(f"focus('{scope}')")
    browser.press(" ")
    assert (
        browser.js(f"document.querySelector('{at(scope)}').getAttribute('aria-expanded')") == "true"
    )
    browser.press("?")
    browser.press("Escape")
    assert browser.js("document.activeElement.dataset.id") == scope


CONTRAST = """((a, b) => {
  const light = (colour) => {
    const c = document.createElement('canvas').getContext('2d');
    c.fillStyle = colour;
    c.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...c.getImageData(0, 0, 1, 1).data].map((x) => x / 255).map((x) =>
      x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return Math.max(light(a), light(b)) / Math.min(light(a), light(b));
})"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrasts_names_and_landmarks(opened, browser, scheme):
    opened(lstm_loss(5))
    browser.send(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    style = lambda what, name: browser.js(
        f"getComputedStyle(document.querySelector({what!r})).{name}"
    )
    for what, name, ground in (
        (".open .frame", "stroke", "body"),
        (".operation .frame", "stroke", "body"),
        ("button", "borderTopColor", "header"),
        ("#search", "borderTopColor", "header"),
    ):
        pair = style(what, name), style(ground, "backgroundColor")
        assert browser.js(f"{CONTRAST}(...{[*pair]})") >= 3, (what, pair)
    for what in ("#count", "#legend", ".code, .note", "h1", ".link"):
        pair = style(what, "color"), style("header", "backgroundColor")
        assert browser.js(f"{CONTRAST}(...{[*pair]})") >= 4.5, (what, pair)
    assert browser.js("['header', 'main', 'aside', 'footer'].map(t => "
                      "document.querySelectorAll(t).length)") == [1, 1, 1, 1]  # fmt: skip
    assert (
        browser.js("""[...document.querySelectorAll(`button, input, select, canvas, section, aside,
      [role=button], [tabindex="0"]`)].filter(e => !(e.getAttribute('aria-label')
        || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))""")
        == []
    )
    assert browser.js("""[...document.querySelectorAll('[id]')].every((e, _, all) =>
      all.filter((f) => f.id === e.id).length === 1)""")


@needs_browser
def test_no_label_stands_on_another_and_no_wire_on_a_title(opened, browser):
    for loss in (lstm_loss(5), wrong_report().case.loss):
        opened(loss)
        assert browser.js("""(() => {
      const all = [...document.querySelectorAll('.on, .head, .roll, .box')].map((e) =>
        [e, e.getBBox()]);
      const labels = all.filter(([e]) => e.matches('.on'));
      return [labels.length > 0, labels.flatMap(([e, a]) => all.filter(([f, b]) => e !== f
        && a.x + 1 < b.x + b.width && b.x + 1 < a.x + a.width && a.y + 2 < b.y + b.height
        && b.y + 2 < a.y + a.height).map(([f]) => [e.textContent, f.textContent]))];
    })()""") == [True, []]  # fmt: skip
        assert browser.js("""[...document.querySelectorAll('.head')].every((e) =>
      e.parentNode === document.querySelector('.box').parentNode)""")


@needs_browser
def test_in_a_frame_the_wheel_scrolls_until_there_was_a_click(browser, tmp_path):
    page = viz.show(lstm_loss(5), tmp_path / "graph.html", grads=True)
    assert page.path is not None
    (tmp_path / "outer.html").write_text(
        "<!doctype html><body style='height: 3000px'><iframe src=graph.html id=f "
        "style='width: 900px; height: 640px'></iframe>", encoding="utf-8"
    )  # fmt: skip
    browser.open(tmp_path / "outer.html")
    browser.js("new Promise(requestAnimationFrame)")

    def wheel(**more):
        browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=200, y=300, deltaX=0,
                     deltaY=60, **more)  # fmt: skip
        browser.js("new Promise((done) => setTimeout(done, 150))")
        return browser.js("scrollY")

    y = wheel()
    assert y > 0
    assert wheel(modifiers=2) == y  # ctrl: the graph
    browser.js("scrollTo(0, 0)")
    browser.mouse(30, 200)
    assert wheel() == 0
    assert browser.problems() == []


@needs_browser
def test_the_picture_is_saved(opened, browser, tmp_path):
    graph = opened(lstm_loss(5))
    root = ET.fromstring(browser.js("asSvg()"))
    texts = "".join(root.itertext())
    assert all("".join(t for t, _ in b["title"]) in texts for b in graph["boxes"].values())
    rects = [e for e in root.iter() if e.tag.endswith("rect")]
    assert len(rects) > len(graph["boxes"])
    assert not {k for e in root.iter() for k in e.attrib} & {"class", "data-id", "style"}
    assert all(e.attrib["fill"] for e in rects)
    assert browser.js("document.querySelectorAll('#graph [fill=\"context-stroke\"]').length") == 0
    assert "context-stroke" in browser.js("asSvg()")  # arrows have the colours of their wires
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        browser.click(f"[data-key={kind}]")
        path = tmp_path / f"graph.{kind}"
        browser.js("new Promise((done) => setTimeout(done, 300))")
        for _ in range(50):
            if path.exists():
                break
            browser.js("new Promise((done) => setTimeout(done, 100))")
        assert path.read_bytes().startswith(start)


def test_without_scripts_it_says_what_is_there():
    x = mg.tensor([1.0], requires_grad=True, name=HOSTILE)
    page = viz.show(mg.tanh(x), agreement={x: 0.5}, remarks=[(HOSTILE, "", x)])
    said = re.search("<noscript>(.*?)</noscript>", page.text, re.S)[1]
    assert "<" not in said
    assert "The computation graph of tanh: 2 nodes in 2 boxes." in said
    assert "onerror" in said


# ---- over training -------------------------------------------------------------------------------


def trained(steps=6, loop=True):
    """A record in which the gradients of `w` are halved at every step."""
    scale = mg.tensor(np.array(1.0))
    w = mg.tensor(np.ones(3), requires_grad=True, name="w")

    def loss():
        h = w
        for t in range(4 if loop else 1):
            with mg.scope("step", t):
                h = np.tanh(h * w)
        return (h * scale).sum()

    seen = viz.record(loss)
    for _ in range(steps):
        seen()
        scale.data = scale.data / 2
    return seen


@pytest.fixture
def opened_record(browser, tmp_path):
    def open_record(seen):
        page = seen.show(tmp_path / "training.html")
        browser.open(page.path)
        return data(page)["graph"]

    yield open_record
    assert browser.problems() == []


@needs_browser
def test_the_slider_shows_each_step_of_training(opened_record, browser):
    graph = opened_record(trained())
    assert words(browser, "#training") == "epoch5"
    key = box(graph, "w")
    for step in (5, 0, 3):
        browser.js(f"(e => {{e.value = {step}; e.dispatchEvent(new Event('input'))}})"
                   "(document.querySelector('#training input'))")  # fmt: skip
        assert words(browser, "#training") == f"epoch{step}"
        rms = graph["training"]["grads"][step][graph["boxes"][key]["node"]]
        assert f"|g| {browser.js(f'num({rms})')}" in words(browser, at(key))
    assert browser.js("document.activeElement.type") == "range"
    touch(browser, key)
    side = words(browser, "#side")
    assert "over training, by epoch" in side
    assert "zeros" not in side
    browser.js("setStep(5)")
    assert "zeros" in words(browser, "#side")
    browser.js("lookFor('grad < 0.2')")
    few = browser.js("[...hits].length")
    browser.js("setStep(0); lookFor('grad < 0.2')")
    assert browser.js("[...hits].length") < few


@needs_browser
def test_the_heat_map_over_training(opened_record, browser):
    graph = opened_record(trained())
    assert words(browser, "#heattitle") == "rms gradient, operation by epoch"
    assert words(browser, "#heatby") == "by t"
    rows = browser.js("heat.rows.map(r => r.name)")
    assert "tanh" in rows
    values = browser.js("heat.rows.map(r => r.values)")[rows.index("multiply")]
    np.testing.assert_allclose(np.divide(values[1:], values[:-1]), 0.5, rtol=2e-3)
    x, y = browser.js(f"""(b => [b.x + heat.left + 1.5 * heat.wide,
      b.y + ({rows.index("tanh")} + 0.5) * heat.high])(heatmap.getBoundingClientRect())""")
    browser.mouse(x, y)
    assert browser.js("selected") == box(graph, "tanh")
    assert words(browser, "#training") == "epoch1"
    assert "epoch = 1" in words(browser, "#heatsay")
    browser.click("#heatby")
    assert "operation by t, in step ×4" in words(browser, "#heattitle")
    assert words(browser, "#heatby") == "by epoch"


@needs_browser
def test_without_a_loop_there_is_the_heat_map_over_training_alone(opened_record, browser):
    opened_record(trained(loop=False))
    assert words(browser, "#heattitle") == "rms gradient, operation by epoch"
    assert browser.js("document.querySelector('#heatby').hidden")
    browser.js("mode = 'flops'; again(null); drawHeat()")


@needs_browser
def test_a_page_without_training_has_no_slider(opened, browser):
    opened(lstm_loss(3))
    assert browser.js("document.querySelector('#training').hidden")
    assert browser.js("document.querySelector('#heatby').hidden")
