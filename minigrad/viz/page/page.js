// ---- legend, keys, beginning --------------------------------------------------------------------

function drawLegend() {
  const m = look(), kinds = new Set(Object.values(BOXES).map((b) => b.kind));
  const key = (...parts) => el("span", {class: "key"}, ...parts);
  const swatch = (kind, words) => kinds.has(kind) && key(el("svg", {viewBox: "0 0 22 12",
    class: `swatch box ${kind}`}, rect(1, 1, 20, 10, "frame", {rx: kind === "port" ? 5 : 0})),
  words);
  const ramp = el("svg", {viewBox: `0 0 ${m.palette.length} 1`, preserveAspectRatio: "none",
    class: "ramp"}, m.palette.map((fill, k) => rect(k, 0, 1.1, 1, "", {fill})));
  $("legend").replaceChildren(...[key(`${m.name} ${m.ends[0]}`, ramp, m.ends[1]),
    m.meaning && key(m.meaning),
    swatch("leaf", "takes a gradient"), swatch("constant", "constant"),
    swatch("port", "state, from step to step"), key(el("i", {class: "parameter"}, "parameter")),
    D.dtype && key(`${D.dtype} unless marked`)].filter(Boolean));
}

function sayFirst() { // what is wrong, and its line of source
  $("said").hidden = !LOOK.said.length;
  $("said").classList.toggle("wrong", GUILTY.length > 0);
  $("said").append(...LOOK.said.flatMap(([words, source, k], j) => [
    el("p", {class: j ? "" : "first"}, words.split("`").map((w, i) =>
      (i % 2 ? el("code", {}, w) : w)), k !== null && owner(k) && [" ", link(k, "show the box")]),
    source && el("p", {class: "code"}, source)].filter(Boolean)));
}

function revealFirst() {
  const item = GUILTY.map(shownBy).find(Boolean);
  if (item) reveal(item);
}

function openTo(depth) {
  flipped.clear();
  rows.clear();
  level = depth;
  build();
  fit();
}

function beside(step) { // the box before or after, in order of execution
  const all = [...places.values()], at = all.indexOf(places.get(selected)), item = all[at + step];
  if (!item) return;
  select(item.id);
  reveal(item);
  focus(item.id);
}

function showHeat(shown) {
  const none = !heatFolds().length && !TRAINING;
  $("heat").hidden = !shown || none;
  $("heatkey").hidden = none;
  drawHeat();
}

const night = matchMedia("(prefers-color-scheme: dark)");
function theme() {
  const data = document.documentElement.dataset, now = data.theme || (night.matches ? "dark" : "");
  data.theme = now === "dark" ? "light" : "dark";
  drawHeat();
}

const ACTIONS = {
  ArrowUp: () => beside(-1), ArrowDown: () => beside(1), "/": () => $("search").focus(),
  "+": () => zoomAt(1.25), "=": () => zoomAt(1.25), "-": () => zoomAt(0.8),
  0: () => {
    zoom.all = zoom.fitted && !zoom.all;
    fit();
  },
  svg: () => save("svg"), png: () => save("png"),
  e: () => openTo(Infinity), c: () => openTo(0), n: () => nextHit(1), p: () => nextHit(-1),
  h: () => showHeat($("heat").hidden), t: theme,
  "?": () => ($("help").open ? $("help").close() : $("help").showModal()),
  u: () => {
    const item = places.get(selected);
    const f = item && folds(item.box ? item.box.home : item.key).at(-1);
    if (f) roll(f.key);
  },
  Escape: () => {
    if ($("help").open) return $("help").close();
    $("search").value = "";
    lookFor("");
    select(null);
  },
};

function listen() {
  const svg = $("graph"), canvas = $("heatmap");
  const on = (e, what, f, how) => e.addEventListener(what, f, how);
  const held = new Map(); // mouse or fingers: where they are
  let dragged = false, awake = parent === window;
  on(svg, "pointerdown", (e) => {
    held.set(e.pointerId, [e.clientX, e.clientY]);
    dragged = held.size > 1;
    awake = true;
  });
  for (const end of ["pointerup", "pointercancel"]) on(window, end, (e) => held.delete(e.pointerId));
  on(window, "pointermove", (e) => {
    const was = held.get(e.pointerId), now = [e.clientX, e.clientY];
    if (!was) return;
    const [dx, dy] = [0, 1].map((i) => now[i] - was[i]);
    if (!dragged && Math.abs(dx) + Math.abs(dy) < 4) return;
    dragged = true;
    held.set(e.pointerId, now);
    const other = [...held].find(([id]) => id !== e.pointerId)?.[1];
    moved({x: zoom.x - dx / zoom.k / held.size, y: zoom.y - dy / zoom.k / held.size, fitted: false});
    if (!other) return;
    const far = (at) => max(9, Math.hypot(at[0] - other[0], at[1] - other[1])), box = frame();
    zoomAt(far(now) / far(was), (now[0] + other[0]) / 2 - box.left,
      (now[1] + other[1]) / 2 - box.top);
  });
  on(window, "blur", () => { awake = parent === window; });
  on(svg, "focusin", (e) => {
    const item = places.get(e.target.dataset.id);
    if (item && e.target.matches(":focus-visible")) reveal(item);
  });
  on(svg, "wheel", (e) => { // in a frame it scrolls the page around it, until there was a click
    if (!awake && !e.ctrlKey) return;
    e.preventDefault();
    const box = frame(), by = Math.exp(-max(-100, min(100, e.deltaY)) * 0.002);
    zoomAt(by, e.clientX - box.left, e.clientY - box.top);
  }, {passive: false});
  const press = (target, keyed) => {
    const item = places.get(target.closest("[data-id]")?.dataset.id);
    const now = item && !item.box && (item.shut || keyed || selected === item.id);
    selected = item ? item.id : null;
    if (now) toggle(item);
    select(selected);
  };
  on(svg, "click", (e) => {
    const key = e.target.closest("[data-roll]")?.dataset.roll;
    if (key) roll(key);
    else if (!dragged) press(e.target);
  });
  on(window, "keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (/INPUT|SELECT/.test(e.target.tagName) && e.key !== "Escape") return;
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
      ArrowRight: [0, 1]}[e.key];
    if (e.target === canvas && step) {
      heatGo({row: heat.at.row + step[0], rep: heat.at.rep + step[1]});
      canvas.focus();
    } else if (/^(Enter| )$/.test(e.key) && svg.contains(e.target)) press(e.target, true);
    else if (ACTIONS[e.key]) ACTIONS[e.key]();
    else return;
    e.preventDefault();
  });
  on($("search"), "input", (e) => lookFor(e.target.value));
  on($("search"), "keydown", (e) => e.key === "Enter" && nextHit(e.shiftKey ? -1 : 1));
  on(canvas, "mousemove", (e) => heatSay(heatAt(e)));
  on(canvas, "click", (e) => heatGo(heatAt(e)));
  on($("training").querySelector("input"), "input", (e) => {
    setStep(+e.target.value);
    e.target.focus();
  });
  on($("heatby"), "click", () => {
    byStep = !byStep;
    drawHeat();
  });
  on($("mode"), "change", () => {
    mode = $("mode").value;
    again(selected);
    drawLegend();
    select(selected);
  });
  for (const b of document.querySelectorAll("[data-key]")) on(b, "click", ACTIONS[b.dataset.key]);
  for (const b of document.querySelectorAll(".more")) {
    on(b, "click", () => pan(...SIDES[b.dataset.side]));
  }
  on(window, "beforeprint", () => moved({print: true}));
  on(window, "afterprint", () => moved({print: false}));
  on(night, "change", drawHeat);
  new ResizeObserver(() => {
    (zoom.fitted ? fit : moved)();
    drawHeat();
  }).observe(svg);
}

document.title = $("title").textContent = D.title || "graph";
$("mode").append(...Object.entries(LOOK.scales).map(([value, m]) => el("option", {value}, m.name)));
if (TRAINING) {
  const [name, slider, now] = $("training").children;
  $("training").hidden = false;
  slider.max = step;
  name.textContent = TRAINING.letter;
  [slider.value, now.textContent] = [step, TRAINING.steps[step]];
}
build();
inspect();
drawLegend();
sayFirst();
showHeat(innerHeight > 600 && innerWidth > 720);
begin();
revealFirst();
listen();
