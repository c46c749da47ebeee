// ---- what is written in a box -------------------------------------------------------------------

function measure(item) {
  const {box} = item, view = box?.kind === "view", line = (runs, size = 10) => ({runs, size,
    width: runs.reduce((w, [t, s]) => w + width(t, size, s === "name"), 0)});
  const note = (words) => line([[words, ""]]);
  let nodes = item.members, lines;
  item.cells = [];
  item.bare = view || item.kind === "gap";
  if (item.kind === "gap") lines = [note("…"), note(`${item.to - item.from + 1} more`)];
  else if (box) {
    const numbers = view || box.kind === "port" ? "" : isCost() ? takes(item) : range(nodes);
    if (numbers) item.cells = columns(nodes.map((k) => size(k)), LANES);
    const fact = said([box.fact, numbers && `${look().short} ${numbers}`], "  ");
    const later = Object.values(item.reps).some((x) => x); // what begins a loop is said at first
    const notes = later ? [] : box.notes || [];
    lines = [line(box.title, view ? 10 : 12), note(fact), ...notes.map(note)];
  } else {
    const {name, when, facts, result} = about(item), s = item.scope;
    nodes = mode === "errors" ? everything(s, item.reps) : result;
    const numbers = isCost() ? takes(item) : range(nodes), sizes = nodes.map((k) => size(k));
    if (numbers) item.cells = isCost() ? [cell([costOf(spent(item)) / LOOK.totals[mode]])]
      : mode === "errors" ? [cell(sizes)] : columns(sizes, LANES);
    lines = [line([["▸ ", ""], [name, "name"]], 12), note(facts), note(when),
      note(numbers && `${look().short} ${numbers}`)];
  }
  item.lines = lines.filter((l) => l.width);
  item.w = max(24, item.cells.length ? 100 : 0, ...item.lines.map((l) => l.width));
  item.w += item.bare ? 8 : 18;
  item.h = item.lines.length * 14 + (item.bare ? 4 : 8) + (item.cells.length ? 10 : 0);
}

let hidden; // what has no box of its own, by the key of the box that shows it

function spent(item) { // the nodes whose cost is that of an item
  hidden ||= D.nodes.shown.reduce((all, u, k) => {
    if (D.inside[u]) (all[D.inside[u]] ||= []).push(k);
    return all;
  }, {});
  return (item.box ? [item.box] : boxesIn(item.scope)).flatMap((b) => {
    const own = members(b, item.reps);
    return own.length < b.members?.length ? own : [...own, ...hidden[b.key] || []];
  });
}

function takes(item) { // `1.2 ms 34 %`, or nothing
  const x = costOf(spent(item));
  return x === 0 ? "" : said([spell(x), percent(x)], ", ");
}

const boxesIn = (s) => s.items.flatMap((k) => (BOXES[k] ? [BOXES[k]] : boxesIn(SCOPES.get(k))));
const weightsIn = (boxes) => [...new Set(boxes.flatMap((b) => b.written || []))];
const everything = (s, reps) => [...boxesIn(s).flatMap((b) => members(b, reps)),
  ...weightsIn(boxesIn(s))];

function about(item) { // a scope, or a step of one
  const {scope: s, reps} = item, inside = boxesIn(s), step = item.kind === "step";
  const weights = weightsIn(inside).reduce((n, k) => n + D.values.size[k], 0);
  return {
    name: step ? `${s.title.replace(/ ×\d+$/, "")}[${s.moments[reps[s.key]]}]` : s.title,
    when: step ? "" : s.when || "",
    facts: step ? "" : said([plural(inside.filter((b) => b.kind === "operation").length,
      "operation"), weights && plural(weights, "parameter")], ", "),
    result: members(inside.filter((b) => b.members && b.kind !== "constant").at(-1), reps),
  };
}

function heading(item) {
  const {name, when} = about(item), fold = item.kind === "scope" && item.scope.moments;
  const button = fold ? (item.row ? "roll up" : "unroll") : "";
  const title = 20 + width(name, 12, true) + width(when, 10);
  return {name, when: when && `  ${when}`, button,
    width: title + (button ? width(button, 10) + 30 : 0)};
}

// ---- drawing ------------------------------------------------------------------------------------

let taken; // where there is text: [left, top, width, height]

function place(labels) { // each beside its wire, and none on another
  for (const label of labels) {
    const path = label.previousSibling, long = path.getTotalLength();
    const w = width(label.textContent, 10), own = [+label.getAttribute("x"),
      label.getAttribute("y") - 8];
    const free = ([x, y]) => taken.every(([a, b, c, d]) => x >= a + c || a >= x + w
      || y >= b + d || b >= y + 11);
    const spots = [22, 16, 30, 38, 48, 60, 80, 110, 12].filter((far) => far < long).flatMap((far) => {
      const {x, y} = path.getPointAtLength(long - far);
      return [[x + 4, y - 5], [x - w - 4, y - 5]];
    });
    const [x, y] = [own, ...spots].find(free) || own;
    label.setAttribute("x", r(x));
    label.setAttribute("y", r(y + 8));
    taken.push([x, y, w, 11]);
  }
}

function build() {
  const layers = [el("g"), el("g"), el("g")];
  view = grow(new Item(null, D.scopes[0].key, "scope", {}));
  connect();
  layout(view);
  places.clear();
  taken = [];
  draw(view, 0, 0, ...layers);
  place([...layers[1].querySelectorAll(".on")]);
  for (const k of GUILTY) layers[2].append(badge(k));
  $("graph").replaceChildren(...layers);
  mark();
}

function draw(item, x, y, frames, lines, boxes) {
  Object.assign(item, {left: x, top: y});
  if (item.up) places.set(item.id, item);
  if (!item.kids.length) {
    taken.push([x, y, item.w, item.h]);
    return boxes.append(item.node = drawBox(item));
  }
  if (item.up) {
    frames.append(item.node = drawFrame(item));
    boxes.append(...drawHead(item).filter(Boolean));
  }
  item.edges.forEach((e) => lines.append(...drawEdge(e, x, y).filter(Boolean)));
  for (const k of item.kids) draw(k, x + k.x - k.w / 2, y + k.y, frames, lines, boxes);
}

function badge(k) { // on the box that a remark is about
  const item = shownBy(k);
  if (!item) return "";
  item.node.classList.add("guilty");
  return el("g", {class: "badge"}, el("circle", {cx: r(item.left), cy: r(item.top), r: 9}),
    text(item.left, item.top + 4, "mid", "✗"), el("title", {}, "here: see the top of the page"));
}

function drawBox(item) {
  const {left: x, top: y, w, h, cells, box, lines} = item, kind = box?.kind || item.kind;
  const title = lines.map((l) => plain({title: l.runs}).replace("▸ ", "")).join(", ");
  const round = /leaf|constant|parameter/.test(kind) ? 0 : 6, step = (w - 16) / cells.length;
  return el("g", {class: `box ${kind} ${box?.output ? "output" : ""}`, tabindex: 0, role: "button",
    "data-id": item.id, "aria-label": title, "aria-expanded": box ? null : "false"},
  rect(x, y, w, h, item.bare ? "bare" : "frame", {rx: round}),
  lines.map((l, k) => [text(x + w / 2, y + 14 * k + (item.bare ? 12 : 14), l.size < 12 ? "small mid"
    : "mid", l.runs.map(([t, s]) => el("tspan", {class: s}, t))), " "]),
  cells.map((c, k) => [rect(x + 8 + k * step, y + h - 11, step + 0.3, 7, "cell", {fill: c.colour}),
    c.sign && el("text", {x: r(x + 8 + (k + 0.5) * step), y: y + h - 5, class: "sign mid",
      fill: ink(c.colour)}, c.sign)]).flat(),
  el("title", {}, title));
}

function drawFrame(item) {
  const {left: x, top: y, w, h} = item, {name, when, button} = heading(item);
  return el("g", {class: `open ${button && "fold"}`, tabindex: 0, role: "button",
    "data-id": item.id, "aria-expanded": "true", "aria-label": name + when},
  rect(x, y, w, h, "frame", {rx: 8}));
}

function drawHead(item) { // over the wires, so that none runs through a title
  const {left: x, top: y, w, scope} = item, {name, when, button} = heading(item);
  const b = width(button, 10) + 12, left = x + w - b - 6;
  taken.push([x, y, 40 + width(name, 12, true) + width(when, 10), HEAD], [left, y, b, HEAD]);
  return [text(x + PAD, y + 16, "head", "▾ ", el("tspan", {class: "name"}, name),
    el("tspan", {class: "small"}, when)),
  button && el("g", {class: "roll", "data-roll": scope.key}, rect(left, y + 5, b, 15, "", {rx: 7}),
    text(left + b / 2, y + 16, "small mid", button))];
}

function drawEdge(e, x, y) {
  const {na, nb} = e, u = x + na.x + e.atA, v = x + nb.x + e.atB;
  let at = [u, y + na.y + (na.lane ? 0 : na.h)], d = "", near = at;
  const to = (a, b, straight) => {
    const c = r((at[1] + b) / 2);
    if (straight && b <= at[1]) return;
    d += straight ? `L${r(a)} ${r(b)}` : `C${r(at[0])} ${c} ${r(a)} ${c} ${r(a)} ${r(b)}`;
    [near, at] = [straight ? near : at, [a, b]];
  };
  if (e.flat) {
    at = near = [x + na.x + na.w / 2, y + na.y + na.h / 2];
    d = `L${r(x + nb.x - nb.w / 2)} ${r(at[1])}`;
  } else if (!na.lane) to(u, y + na.below, true); // past what stands beside it
  const start = e.flat ? at : [u, y + na.y + (na.lane ? 0 : na.h)];
  for (const p of e.points) {
    to(x + p.x, y + p.y);
    to(x + p.x, y + p.y + p.h, true);
  }
  if (!e.flat) {
    to(v, y + (nb.lane ? nb.y : nb.above));
    if (!nb.lane) to(v, y + nb.y, true);
  }
  e.path = el("path", {d: `M${r(start[0])} ${r(start[1])}${d}`,
    class: said(["wire", e.state && "state", e.last && "last"])});
  return [e.path,
    e.label && text((near[0] + v) / 2 + 4, (near[1] + at[1]) / 2 + 3, "small on", e.label)];
}

// ---- pan and zoom -------------------------------------------------------------------------------

const zoom = {x: 0, y: 0, k: 1, fitted: true};
const frame = () => $("graph").getBoundingClientRect();

function moved(change) {
  Object.assign(zoom, change);
  const {width: w, height: h} = frame();
  $("graph").setAttribute("viewBox", (zoom.print ? [-8, -8, view.w + 16, view.h + 16]
    : [zoom.x, zoom.y, max(1, w) / zoom.k, max(1, h) / zoom.k]).map(r).join(" "));
  markMore(w / zoom.k, h / zoom.k);
}

const READABLE = 0.9; // where small text is 9 pixels
const whole = () => min((frame().width - 32) / view.w, (frame().height - 32) / view.h, 1.25);

function fit() { // all of it, or of what is too large to be read its beginning, above the result
  const {width: w, height: h} = frame(), k = max(0.02, whole(), zoom.all ? 0 : READABLE);
  const end = [...places.values()].at(-1), far = view.w * k > w;
  moved({k, fitted: true, x: (far && end ? end.left + end.w / 2 : view.w / 2) - w / 2 / k,
    y: view.h * k > h ? -16 / k : view.h / 2 - h / 2 / k});
}

function begin() { // shut, until it can be read and the result is in view
  for (level = min(LOOK.level, 99); ; level--) {
    build();
    fit();
    if (GUILTY.length || whole() >= READABLE) break;
    if (level <= 0) return;
  }
  const tried = new Set();
  for (let tries = 0; tries < 20; tries++) { // and open again what there is room for
    const item = [...places.values()].find((i) => i.shut && i.kind === "scope" && !tried.has(i.id));
    if (!item || level >= LOOK.level) return;
    tried.add(item.id);
    flip(item);
    build();
    if (whole() < READABLE) {
      flip(item);
      build();
    }
    fit();
  }
}

const SIDES = {above: [0, -1], left: [-1, 0], right: [1, 0], below: [0, 1]};

function markMore(w, h) { // on the sides where there is more
  const beyond = {above: -zoom.y, left: -zoom.x, right: zoom.x + w - view.w,
    below: zoom.y + h - view.h};
  for (const b of document.querySelectorAll(".more")) b.hidden = beyond[b.dataset.side] > -9;
}

function pan(x, y) { // by most of the window
  const {width: w, height: h} = frame();
  moved({x: zoom.x + 0.8 * x * w / zoom.k, y: zoom.y + 0.8 * y * h / zoom.k, fitted: false});
}

function zoomAt(factor, px = frame().width / 2, py = frame().height / 2) {
  const k = min(8, max(0.02, zoom.k * factor));
  moved({k, fitted: false, x: zoom.x + px / zoom.k - px / k, y: zoom.y + py / zoom.k - py / k});
}

function reveal(item) {
  const {width: w, height: h} = frame(), k = max(zoom.k, 0.5), x = item.left + item.w / 2;
  const y = item.top + min(item.h / 2, h / 3 / k), far = (a, b) => Math.abs(a) > b / 2 - 40;
  if (far((x - zoom.x) * k - w / 2, w) || far((y - zoom.y) * k - h / 2, h) || k > zoom.k) {
    moved({k, fitted: false, x: x - w / 2 / k, y: y - h / 2 / k});
  }
}

function again(id) { // and keep what was touched where it is
  const old = places.get(id), {fitted} = zoom;
  build();
  const item = places.get(id);
  if (fitted || !old || !item) fit();
  else moved({x: zoom.x + item.left - old.left, y: zoom.y + item.top - old.top});
  focus(id);
}

const focus = (id) => places.get(id)?.node.focus({preventScroll: true});

function flip(item) {
  if (!flipped.delete(item.id)) flipped.add(item.id);
}

function toggle(item) {
  if (item.kind === "gap") rows.set(item.key, item.from + item.to >> 1);
  else flip(item);
  again(item.kind === "gap" ? item.up.id : item.id);
}

function roll(key) {
  if (!rows.delete(key)) rows.set(key, moment[key] ?? SCOPES.get(key).moments.length - 1);
  again([...places.values()].find((i) => i.key === key && i.kind === "scope")?.id);
}

// ---- selection ----------------------------------------------------------------------------------

function select(id) {
  selected = id;
  mark();
  inspect();
  drawHeat();
}

function mark() { // what is selected and its wires, what was found and what not
  for (const item of [view, ...places.values()]) {
    const {id, node, box, shut, scope, kids, edges} = item;
    const has = (b) => [b.key, ...members(b, item.reps), ...(b.written || [])].some((k) =>
      hits.has(k));
    const hit = hits && (box ? has(box) : shut && boxesIn(scope).some(has));
    const turn = (name, on) => node?.classList.toggle(name, Boolean(on));
    turn("selected", id === selected);
    turn("hit", hit);
    turn("miss", hits && !hit && !kids.length);
    edges.forEach((e) => e.path.classList.toggle("near",
      e.from.id === selected || e.ends.has(selected)));
  }
}

function goTo(key, k) { // open what is around a box, and select it, perhaps in one repetition
  const reps = k >= 0 && BOXES[key].members.length > 1 ? repetitions(BOXES[key], k) : {};
  Object.assign(moment, reps);
  for (const f of folds(BOXES[key].home)) {
    if (rows.has(f.key)) rows.set(f.key, reps[f.key] ??= rows.get(f.key));
  }
  for (let tries = 0; tries < 99; tries++) {
    build();
    const item = find(key, reps);
    if (item && !item.box) flip(item);
    else {
      select(item?.id);
      if (item) reveal(item);
      return;
    }
  }
}
