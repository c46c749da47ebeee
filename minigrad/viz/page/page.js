"use strict";
// The page of mg.viz.show: it reads the JSON in the page (see export.py), lays out what is not
// folded or shut, and does so anew when something is opened.

const {graph: D, look: LOOK} = JSON.parse(document.getElementById("data").textContent);
for (const [key, box] of Object.entries(D.boxes)) box.key = key;
const SCOPES = new Map(D.scopes.map((s) => [s.key, s])), BOXES = D.boxes, N = D.nodes.form.length;
const $ = (id) => document.getElementById(id), log = Math.log10, {min, max, round} = Math;
const LANES = 24;

function el(tag, attributes, ...kids) {
  const e = /^(svg|g|rect|path|text|tspan|title)$/.test(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v != null) e.setAttribute(k, v);
  }
  e.append(...kids.flat().filter((k) => k != null && k !== ""));
  return e;
}
const rect = (x, y, w, h, cls, more) => el("rect", {x: r(x), y: r(y), width: r(w), height: h,
  class: cls, ...more});
const text = (x, y, cls, ...kids) => el("text", {x: r(x), y: r(y), class: cls}, ...kids);
const r = (x) => round(x * 10) / 10;
const plain = (box) => box.title.map((t) => t[0]).join("");
const plural = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const pen = el("canvas").getContext("2d");

function width(words, size, bold) {
  pen.font = `${bold ? "600 " : ""}${size}px Helvetica, Arial, sans-serif`;
  return pen.measureText(words).width;
}

function num(x, digits = 2) {
  const a = Math.abs(x);
  return x == null ? "–" : (x && (a < 1e-2 || a >= 10 ** max(digits, 4))
    ? x.toExponential(digits - 1).replace(/\.?0*e\+?/, "e")
    : String(+x.toPrecision(digits))).replace(/-/g, "−");
}

// ---- numbers and colours ------------------------------------------------------------------------

let mode = Object.keys(LOOK.scales)[0]; // errors, grads or values
const look = () => LOOK.scales[mode];

// what is known of node k: null for nothing, nan for what is not finite or was not compared
function size(k, what = mode) {
  if (what === "errors") {
    const x = D.agreement.errors[k];
    return x === undefined ? null : x ?? NaN;
  }
  const c = D[what];
  return !c?.size[k] ? null : c.bad[k] ? NaN : c.rms[k];
}
const good = (x) => x > 0 && x < Infinity;

function blend(palette, x) {
  const at = min(1, max(0, x)) * (palette.length - 1), k = min(at | 0, palette.length - 2);
  const part = (c, i) => parseInt(palette[c].slice(i, i + 2), 16);
  return "#" + [1, 3, 5].map((i) => round(part(k, i) + (part(k + 1, i) - part(k, i)) * (at - k))
    .toString(16).padStart(2, "0")).join("");
}

// the mean of several: geometric, or the largest error; nan if one is
function mean(values) {
  const known = values.filter((x) => x !== null), logs = known.filter(good).map(log);
  return !known.length ? null : !known.every(Number.isFinite) ? NaN : !logs.length ? 0 : 10 ** (mode === "errors" ? most(logs) : logs.reduce((a, b) => a + b) / logs.length);
}

function cell(values) {
  const m = look(), x = mean(values);
  if (x === null) return {colour: "none", sign: ""};
  if (Number.isNaN(x)) return {colour: LOOK.bad, sign: m.signs[1]};
  if (!x) return {colour: LOOK.zero, sign: m.signs[0]};
  return {colour: blend(m.palette, (log(x) - m.low) / (m.high - m.low)),
    sign: mode !== "errors" && values.includes(0) ? m.signs[0] : ""};
}

function columns(values, most) { // at most so many cells, several values in each
  const n = min(most, values.length), cut = (k) => round(k * values.length / n);
  return Array.from({length: n}, (_, k) => cell(values.slice(cut(k), cut(k + 1))));
}

function ink(colour) {
  const [a, b, c] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.3 * a + 0.59 * b + 0.11 * c > 128 ? "#000" : "#fff";
}

const least = (xs) => xs.reduce((a, b) => min(a, b), 1e999);
const most = (xs) => xs.reduce((a, b) => max(a, b), -1e999);

function range(nodes, what = mode) { // `1e−18 … 1e−5`, and what is not finite
  const known = nodes.map((k) => size(k, what)).filter((x) => x !== null);
  const sure = known.filter((x) => !Number.isNaN(x)), bad = sure.length < known.length;
  const ends = sure.length ? new Set([least, most].map((end) => num(end(sure)))) : [];
  if (!known.length) return "";
  if (what === "errors") return bad ? "not compared" : num(most(sure));
  return [...ends].join(" … ") + (bad ? " ! not finite" : "");
}

// ---- the view: items in items -------------------------------------------------------------------

let view, level = LOOK.level, selected = null, hits = null;
const flipped = new Set(); // what is shut although it would be open, or open although shut
const rows = new Map(); // what is unrolled: fold -> the repetition that is looked at
const moment = {}; // fold -> the repetition that is selected
const places = new Map(); // id -> item

class Item {
  constructor(up, key, kind, reps) {
    Object.assign(this, {up, key, kind, reps, kids: [], index: new Map(), edges: new Map(),
      ins: new Map(), outs: new Map(), box: BOXES[key], scope: SCOPES.get(key)});
    this.id = key + Object.entries(reps).map(([f, x]) => `@${f}:${x}`).join("");
    this.depth = up ? up.depth + 1 : 0;
    this.from = this.to = reps[key]; // of a gap
    const shut = kind === "step" || this.depth > level || Boolean(this.scope?.part);
    this.shut = kind === "gap" || Boolean(up && !this.box && shut !== flipped.has(this.id));
    this.members = members(this.box, reps);
  }
}

function chain(key) { // the scopes from the outermost to this one
  const s = SCOPES.get(key);
  return s.parent ? [...chain(s.parent), s] : [];
}
const folds = (key) => chain(key).filter((s) => s.moments);

function repetitions(box, k) { // the k-th member of a box: fold -> repetition
  const reps = {};
  for (const f of folds(box.home).reverse()) {
    reps[f.key] = k % f.moments.length;
    k = Math.floor(k / f.moments.length);
  }
  return reps;
}

function members(box, reps) { // of some repetitions only
  const all = box?.members || [], some = Object.entries(reps);
  return all.length < 2 || !some.length ? all : all.filter((_, k) => {
    const own = repetitions(box, k);
    return some.every(([f, x]) => !(f in own) || own[f] === x);
  });
}

function near(fold) { // the repetitions that are shown of one that is unrolled
  const n = fold.moments.length, at = rows.get(fold.key);
  return fold.moments.map((_, k) => n <= LANES || k < 3 || k >= n - 3 || Math.abs(k - at) <= 3);
}

function grow(item) {
  const s = item.scope;
  if (item.shut || item.box) return item;
  const add = (key, kind, reps, k = key) => {
    const kid = new Item(item, key, kind, reps);
    item.kids.push(grow(kid));
    item.index.set(k, kid);
  };
  if (item.kind === "scope" && rows.has(s.key)) {
    item.row = true;
    near(s).forEach((shown, k) => {
      const last = item.kids.at(-1), reps = {...item.reps, [s.key]: k};
      if (shown || last.kind !== "gap") add(s.key, shown ? "step" : "gap", reps, k);
      else item.index.set(last.to = k, last);
    });
    return item;
  }
  for (const key of s.items) add(key, BOXES[key] ? "box" : "scope", item.reps);
  return item;
}

// the item that shows a box, in these repetitions of what is unrolled
function find(key, reps) {
  let at = view;
  for (const k of [...chain(BOXES[key].home).map((s) => s.key), key]) {
    at = at.index.get(k);
    if (at?.row) at = at.index.get(reps[k] ?? 0);
    if (!at || at.shut) break;
  }
  return at;
}

// ---- wires --------------------------------------------------------------------------------------

function connect() {
  for (const [source, target, label, position, state, left, times] of D.wires) {
    const to = folds(BOXES[target].home), from = folds(BOXES[source].home);
    const into = BOXES[target].kind === "port" && !from.includes(to.at(-1)) && to.at(-1);
    let every = [{}];
    for (const f of new Set([...from, ...to])) {
      if (!rows.has(f.key)) continue;
      const k = left.indexOf(f.key), shown = near(f);
      let reps = f.moments.map((_, x) => x).filter((x) => shown[x] || shown[x - 1]);
      if (k >= 0 && times) reps = [...new Set(times.map((t) => t[k]))];
      if (f === into) reps = [0]; // a state is set once
      every = every.flatMap((all) => reps.map((x) => ({...all, [f.key]: x})));
    }
    const words = [label, position && `(${position})`].filter(Boolean).join(" ");
    for (const reps of every) join(find(source, reps), find(target, reps), words, state);
  }
  pass(view);
}

function pass(item) { // from every repetition to the next
  item.kids.forEach(pass);
  if (!item.row || !item.scope.items.some((k) => /_out/.test(k))) return;
  item.kids.slice(1).forEach((to, k) => add(item, item.kids[k], to,
    {from: item.kids[k], to, label: "", state: true, last: true, flat: true}));
}

// an edge between kids or lanes of an item; one for all wires that run there
function add(item, a, b, edge) {
  const id = `${a.id}>${b.id}`, old = item.edges.get(id);
  if (!old) item.edges.set(id, {...edge, a, b, ends: new Set([edge.to.id])});
  else {
    old.ends.add(edge.to.id);
    if (edge.label && !old.label.includes(edge.label)) old.label += ` ${edge.label}`;
  }
}

function lane(item, side, {id}) { // where wires of one source come in or go out
  const lane = item[side].get(id) || {id: `${side}<${id}`, lane: true, item, w: 6, h: 0};
  item[side].set(id, lane);
  return lane;
}

function join(from, to, label, state) {
  const around = (i) => (i ? [...around(i.up), i] : []), above = around(from), below = around(to);
  let k = 0;
  while (k < above.length && above[k] === below[k]) k++;
  if (!from || !to || k === above.length || k === below.length) return;
  let a = from, item = above[k - 1];
  for (const inner of above.slice(k, -1).reverse()) { // out of the scopes that it leaves
    const out = lane(inner, "outs", from);
    add(inner, a, out, {from, to, state, label: ""});
    a = out;
  }
  for (const inner of below.slice(k, -1)) { // into those that it enters
    const way = lane(inner, "ins", from);
    add(item, a, way, {from, to, state, label: ""});
    [a, item] = [way, inner];
  }
  add(item, a, to, {from, to, state, label, last: true});
}

// ---- layout: every item alone, in layers, and then placed in its own ----------------------------

const PAD = 12, HEAD = 24, RANK = 26;

function layout(item) {
  if (!item.kids.length) return measure(item);
  item.kids.forEach(layout);
  const ins = [...item.ins.values()], outs = [...item.outs.values()];
  const edges = [...item.edges.values()], nodes = [...ins, ...item.kids, ...outs];
  for (const e of edges) {
    const end = (x) => (x.lane && x.item !== item ? [x.item, x.x - x.item.w / 2] : [x, 0]);
    e.points = [];
    [e.na, e.atA] = end(e.a);
    [e.nb, e.atB] = end(e.b);
  }
  const [w, h] = item.row ? inRow(item.kids, ins, outs) : inLayers(nodes, ins, outs, edges);
  const top = item.up ? HEAD : PAD;
  item.w = max(w + 2 * PAD, item.up ? heading(item).width + 2 * PAD : 0);
  item.h = h + top + PAD;
  for (const n of nodes) {
    n.x += (item.w - w) / 2;
    [n.y, n.above, n.below] = [n.y + top, n.above + top, n.below + top];
  }
  for (const e of edges) for (const p of e.points) [p.x, p.y] = [p.x + (item.w - w) / 2, p.y + top];
  ins.forEach((l) => { l.y = 0; });
  outs.forEach((l) => { l.y = item.h; });
}

function inRow(kids, ins, outs) {
  const gap = 44, top = ins.length ? RANK : 0, h = max(...kids.map((k) => k.h));
  const w = kids.reduce((x, kid) => {
    [kid.x, kid.y, kid.above, kid.below] = [x + kid.w / 2, top + (h - kid.h) / 2, top, top + h];
    return x + kid.w + gap;
  }, 0) - gap;
  for (const lanes of [ins, outs]) {
    lanes.forEach((l, k) => { [l.x, l.y] = [w * (k + 1) / (lanes.length + 1), 0]; });
  }
  return [w, h + top + (outs.length ? RANK : 0)];
}

function inLayers(nodes, ins, outs, edges) { // what is tall stands in several layers
  nodes.forEach((n, i) => Object.assign(n, {i, rank: 0, upper: [], lower: [], end: n,
    span: n.lane ? 1 : max(1, round(n.h / 70))}));
  const forward = edges.filter((e) => e.na.i < e.nb.i); // others only if threads mixed scopes
  const down = new Map(nodes.map((n) => [n, []])), up = new Map(nodes.map((n) => [n, []]));
  for (const e of forward) {
    down.get(e.na).push(e.nb);
    up.get(e.nb).push(e.na);
  }
  const kids = nodes.slice(ins.length, nodes.length - outs.length);
  for (const n of kids) n.rank = max(ins.length && 1, ...up.get(n).map((x) => x.rank + x.span));
  for (const n of [...kids].reverse()) { // what has fewer inputs than users comes down to them
    const users = down.get(n).filter((x) => !x.lane), above = up.get(n).length;
    const free = !above || (users.length === down.get(n).length && above < users.length);
    if (users.length && free) n.rank = max(n.rank, least(users.map((x) => x.rank)) - n.span);
  }
  const last = most(kids.map((n) => n.rank + n.span)), gap = RANK + (edges.some((e) => e.label) ? 8 : 0);
  outs.forEach((n) => { n.rank = last; });
  let ranks = Array.from({length: last + 1}, () => []), budget = 6000;
  const link = (a, b, atA, atB, weight) => {
    const l = {a, b, atA, atB, weight: weight || (a.bend && b.bend ? 8 : a.bend || b.bend ? 2 : 1)};
    a.lower.push(l);
    b.upper.push(l);
  };
  const bend = (rank, more) => {
    const n = {w: 4, h: 0, upper: [], lower: [], rank, span: 1, ...more};
    ranks[rank].push(n);
    return n;
  };
  for (const n of nodes) {
    ranks[n.rank].push(n);
    for (let k = 1; k < n.span; k++) {
      const body = bend(n.rank + k, {w: n.w});
      link(n.end, body, 0, 0, 1000);
      n.end = body;
    }
  }
  for (const e of forward) {
    let [a, at] = [e.na.end, e.atA];
    for (let k = e.na.rank + e.na.span; k < e.nb.rank && budget-- > 0; k++) {
      e.points.push(bend(k, {bend: true}));
      link(a, e.points.at(-1), at, 0);
      [a, at] = [e.points.at(-1), 0];
    }
    link(a, e.nb, at, e.atB);
  }
  ranks = order(ranks);
  align(ranks);
  for (const e of forward) straighten(e, ranks);
  const high = ranks.map((rank) => max(0, ...rank.map((n) => (n.span > 1 ? 0 : n.h))));
  const after = (k) => (k === last ? 0 : k + 1 === last ? 12 * min(outs.length, 1)
    : !k && ins.length ? 12 : gap);
  for (const n of kids.filter((n) => n.span > 1)) {
    let room = -after(n.rank + n.span - 1);
    for (let k = n.rank; k < n.rank + n.span; k++) room += high[k] + after(k);
    for (let k = n.rank; k < n.rank + n.span; k++) high[k] += max(0, n.h - room) / n.span;
  }
  const top = high.map((_, k) => high.slice(0, k).reduce((y, h, j) => y + h + after(j), 0));
  for (const n of ranks.flat()) { // to the top, and what has no input to the bottom
    const k = n.rank + n.span - 1;
    [n.above, n.below] = [top[n.rank], top[k] + high[k]];
    if (n.bend) n.h = n.below - n.above;
    n.y = n.upper.length ? n.above : n.below - n.h;
  }
  const left = least(ranks.flat().map((n) => n.x - n.w / 2));
  for (const n of ranks.flat()) n.x -= left;
  return [most(ranks.flat().map((n) => n.x + n.w / 2)), top[last]];
}

// the order in every layer: each by the mean place of its neighbours, down and up again
function order(ranks) {
  const number = (rank) => rank.forEach((n, k) => { n.k = k; });
  let best = Infinity, kept = ranks;
  ranks.forEach(number);
  for (let sweep = 0; sweep < 16 && best; sweep++) {
    const down = sweep % 2 === 0;
    for (const rank of down ? ranks : [...ranks].reverse()) {
      for (const n of rank) {
        const at = down ? n.upper.map((l) => l.a.k + l.atA / 1e4)
          : n.lower.map((l) => l.b.k + l.atB / 1e4);
        n.mean = at.length ? at.reduce((a, b) => a + b) / at.length : n.k;
      }
      rank.sort((a, b) => a.mean - b.mean || a.k - b.k);
      number(rank);
    }
    const crossed = crossings(ranks);
    if (crossed < best) [best, kept] = [crossed, ranks.map((rank) => [...rank])];
  }
  kept.forEach(number);
  return kept;
}

function crossings(ranks) {
  let n = 0;
  for (const rank of ranks) {
    const links = rank.flatMap((x) => x.lower).slice(0, 400);
    links.forEach((p, i) => links.slice(0, i).forEach((q) => {
      if ((p.a.k - q.a.k || p.atA - q.atA) * (p.b.k - q.b.k || p.atB - q.atB) < 0) n++;
    }));
  }
  return n;
}

// the places: each as near as can be to the mean of its neighbours, in this order
function align(ranks) {
  for (const rank of ranks) settle(rank, () => [0, 1]);
  for (let sweep = 0; sweep < 24; sweep++) {
    const down = sweep % 2 === 0, both = sweep > 7;
    for (const rank of down ? ranks : [...ranks].reverse()) {
      settle(rank, (n) => {
        let sum = 0, weight = 0;
        const pull = (l, x) => { sum += l.weight * x; weight += l.weight; };
        if (down || both) n.upper.forEach((l) => pull(l, l.a.x + l.atA - l.atB));
        if (!down || both) n.lower.forEach((l) => pull(l, l.b.x + l.atB - l.atA));
        return weight ? [sum / weight, weight] : [n.x, 0.01];
      });
    }
  }
}

function straighten(e, ranks) { // a long edge: as few and as long lines as there is room for
  const clear = (n, side) => (n ? n.x + side * (n.w / 2 + 7) : -side * 1e9);
  let run = [], low, high;
  const lay = () => {
    const ends = [e.na.x + e.atA, e.nb.x + e.atB].filter((x) => x >= low && x <= high);
    const x = ends[0] ?? max(low, min(high, run.reduce((sum, b) => sum + b.x, 0) / run.length));
    run.forEach((b) => { b.x = x; });
  };
  for (const b of e.points) {
    const rank = ranks[b.rank], from = clear(rank[b.k - 1], 1), to = clear(rank[b.k + 1], -1);
    if (run.length && max(low, from) <= min(high, to)) [low, high] = [max(low, from), min(high, to)];
    else {
      lay();
      [run, low, high] = [[], from, to];
    }
    run.push(b);
  }
  lay();
}

function settle(rank, wish) { // least squares under the order: what would overlap is pooled
  const pools = [], offset = [0];
  rank.forEach((n, k) => {
    const m = rank[k - 1], slim = m && (m.bend || n.bend || m.lane || n.lane);
    if (k) offset[k] = offset[k - 1] + (m.w + n.w) / 2 + (slim ? 10 : 16);
    const [x, w] = wish(n);
    let pool = {x: x - offset[k], w, n: 1};
    while (pools.length && pools.at(-1).x > pool.x) {
      const p = pools.pop(), both = p.w + pool.w;
      pool = {x: (p.x * p.w + pool.x * pool.w) / both, w: both, n: p.n + pool.n};
    }
    pools.push(pool);
  });
  let k = 0;
  for (const p of pools) for (let j = 0; j < p.n; j++, k++) rank[k].x = p.x + offset[k];
}

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
    const numbers = view || box.kind === "port" ? "" : range(nodes);
    if (numbers) item.cells = columns(nodes.map((k) => size(k)), LANES);
    lines = [line(box.title, view ? 10 : 12), note([box.fact, numbers && `${look().short} ${
      numbers}`].filter(Boolean).join("  ")), ...(Object.values(item.reps).some((x) => x) ? [] : box.notes || []).map(note)];
  } else {
    const {name, when, facts, result} = about(item), s = item.scope;
    nodes = mode === "errors" ? everything(s, item.reps) : result;
    const numbers = range(nodes), sizes = nodes.map((k) => size(k));
    if (numbers) item.cells = mode === "errors" ? [cell(sizes)] : columns(sizes, LANES);
    lines = [line([["▸ ", ""], [name, "name"]], 12), note(facts), note(when),
      note(numbers && `${look().short} ${numbers}`)];
  }
  item.lines = lines.filter((l) => l.width);
  item.w = max(24, ...item.lines.map((l) => l.width), item.cells.length ? 100 : 0) + (item.bare ? 8 : 18);
  item.h = item.lines.length * 14 + (item.bare ? 4 : 8) + (item.cells.length ? 10 : 0);
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
    facts: step ? "" : [plural(inside.filter((b) => b.kind === "operation").length, "operation"),
      weights && plural(weights, "parameter")].filter(Boolean).join(", "),
    result: members(inside.filter((b) => b.members && b.kind !== "constant").at(-1), reps),
  };
}

function heading(item) {
  const {name, when} = about(item), fold = item.kind === "scope" && item.scope.moments;
  const button = fold ? (item.row ? "roll up" : "unroll") : "";
  return {name, when: when && `  ${when}`, button, width: 20 + width(name, 12, true) + width(when, 10)
    + (button ? width(button, 10) + 30 : 0)};
}

// ---- drawing ------------------------------------------------------------------------------------

function build() {
  const layers = [el("g"), el("g"), el("g")];
  view = grow(new Item(null, D.scopes[0].key, "scope", {}));
  connect();
  layout(view);
  places.clear();
  draw(view, 0, 0, ...layers);
  $("graph").replaceChildren(...layers);
  mark();
}

function draw(item, x, y, frames, lines, boxes) {
  Object.assign(item, {left: x, top: y});
  if (item.up) places.set(item.id, item);
  if (!item.kids.length) return boxes.append(item.node = drawBox(item));
  if (item.up) frames.append(item.node = drawFrame(item));
  item.edges.forEach((e) => lines.append(...drawEdge(e, x, y).filter(Boolean)));
  for (const k of item.kids) draw(k, x + k.x - k.w / 2, y + k.y, frames, lines, boxes);
}

function drawBox(item) {
  const {left: x, top: y, w, h, cells, box, lines} = item, kind = box?.kind || item.kind;
  const said = lines.map((l) => plain({title: l.runs}).replace("▸ ", "")).join(", ");
  const round = /leaf|constant|parameter/.test(kind) ? 0 : 6, step = (w - 16) / cells.length;
  return el("g", {class: `box ${kind} ${box?.output ? "output" : ""}`, tabindex: 0, role: "button",
    "data-id": item.id, "aria-label": said, "aria-expanded": box ? null : "false"},
  rect(x, y, w, h, item.bare ? "bare" : "frame", {rx: round}),
  lines.map((l, k) => text(x + w / 2, y + 14 * k + (item.bare ? 12 : 14), l.size < 12 ? "small mid"
    : "mid", l.runs.map(([t, s]) => el("tspan", {class: s}, t)))),
  cells.map((c, k) => [rect(x + 8 + k * step, y + h - 11, step + 0.3, 7, "cell", {fill: c.colour}),
    c.sign && el("text", {x: r(x + 8 + (k + 0.5) * step), y: y + h - 5, class: "sign mid",
      fill: ink(c.colour)}, c.sign)]).flat(),
  el("title", {}, said));
}

function drawFrame(item) {
  const {left: x, top: y, w, h, scope} = item, {name, when, button} = heading(item);
  const b = width(button, 10) + 12, left = x + w - b - 6;
  return el("g", {class: `open ${button && "fold"}`, tabindex: 0, role: "button",
    "data-id": item.id, "aria-expanded": "true", "aria-label": name + when},
  rect(x, y, w, h, "frame", {rx: 8}),
  text(x + PAD, y + 16, "", "▾ ", el("tspan", {class: "name"}, name),
    el("tspan", {class: "small"}, when)),
  button && el("g", {class: "roll", "data-roll": scope.key}, rect(left, y + 5, b, 15, "", {rx: 7}),
    text(left + b / 2, y + 16, "small mid", button)));
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
  e.path = el("path", {d: `M${r(start[0])} ${r(start[1])}${d}`, class: ["wire", e.state && "state",
    e.last && "last"].filter(Boolean).join(" ")});
  return [e.path, e.label && text((near[0] + v) / 2 + 4, (near[1] + at[1]) / 2 + 3, "small", e.label)];
}

// ---- pan and zoom -------------------------------------------------------------------------------

const zoom = {x: 0, y: 0, k: 1, fitted: true};
const frame = () => $("graph").getBoundingClientRect();

function moved(change) {
  Object.assign(zoom, change);
  const {width: w, height: h} = frame();
  $("graph").setAttribute("viewBox", [zoom.x, zoom.y, max(1, w) / zoom.k, max(1, h) / zoom.k].map(r)
    .join(" "));
}

function fit() { // all of it, or of what is much taller than the window a readable beginning
  const {width: w, height: h} = frame(), wide = min((w - 32) / view.w, 1.25);
  const whole = min(wide, (h - 32) / view.h), k = max(0.02, whole < 0.5 ? min(wide, 0.85) : whole);
  moved({k, fitted: true, x: view.w / 2 - w / 2 / k,
    y: view.h * k > h ? -16 / k : view.h / 2 - h / 2 / k});
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
  const has = (b) => [b.key, ...(b.written || [])].some((k) => hits.has(k));
  for (const {id, node, box, shut, scope, kids, edges} of [view, ...places.values()]) {
    const hit = hits && (box ? has(box) : shut && boxesIn(scope).some(has));
    const turn = (name, on) => node?.classList.toggle(name, Boolean(on));
    turn("selected", id === selected);
    turn("hit", hit);
    turn("miss", hits && !hit && !kids.length);
    edges.forEach((e) => e.path.classList.toggle("near", e.from.id === selected || e.ends.has(selected)));
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

// ---- the inspector ------------------------------------------------------------------------------

const owner = (k) => BOXES[`n${D.nodes.shown[k]}`] || BOXES[D.inside[D.nodes.shown[k]]];

const formOf = (k) => D.forms[D.nodes.form[k]];
const shapeOf = (k) => `(${(formOf(k).shape || []).join(", ")})`;

function nameOf(k) {
  const box = owner(k), f = formOf(k), many = box?.members?.length > 1;
  if (!box || box.node !== D.nodes.shown[k]) return f.name || f.op;
  const reps = many ? repetitions(box, box.members.indexOf(k)) : {};
  return [plain(box), ...folds(box.home).filter((s) => s.key in reps).map((s) =>
    `${s.letter}=${s.moments[reps[s.key]]}`)].join(", ");
}

const goToNode = (k) => goTo(owner(k).key, owner(k).members?.indexOf(k));
const link = (k, name = nameOf(k)) => (owner(k) ? el("button", {class: "link", onclick: () =>
  goToNode(k)}, name) : name);
const table = (...lines) => el("table", {}, lines.map((row) => el("tr", {}, row.map((c) =>
  el("td", {}, c)))));
const p = (words, cls) => words && el("p", {class: cls}, words);
const h3 = (words, cls) => el("h3", {class: cls}, words);

function inspect() {
  const item = places.get(selected);
  $("side").replaceChildren(...(!item ? overview() : item.box ? boxFacts(item) : scopeFacts(item))
    .flat().filter(Boolean));
}

function overview() {
  const list = (title, lines, cls) => lines.length && [h3(title, cls), table(...lines.map(
    ([a, b, k, name]) => [a, b, link(k, name)]))];
  return [el("h2", {}, D.title), p(`${plural(N, "node")} on the tape, ${
    Object.keys(BOXES).length} boxes in the picture.`),
  !D.grads && p("Gradients are not computed: run backward() first, or show with grads=True.", "bad"),
  list("not finite", LOOK.broken, "bad"), list("worst first", LOOK.worst), list("", LOOK.first),
  p("Select a box for its numbers; press ? for the keys.", "note")].flat();
}

const path = (key) => chain(key).map((s) => s.title).join(" › ");

function boxFacts({box, members: all, key}) {
  const head = [el("h2", {}, plain(box)), p(path(box.home), "note")], form = formOf(box.node);
  if (box.kind === "port") {
    return [...head, p(/_in/.test(key) ? "from the repetition before"
      : "to the next repetition"), ...(box.notes || []).map((n) => p(n))];
  }
  const f = folds(box.home).at(-1), many = f && all.length === f.moments.length && all.length > 1;
  const at = many ? moment[f.key] ?? -1 : -1, nodes = at < 0 ? all : [all[at]];
  const slide = many && el("label", {class: "slide"}, f.letter, el("input", {type: "range", min: -1,
    max: all.length - 1, value: at, oninput: (e) => {
      moment[f.key] = +e.target.value;
      inspect();
      drawHeat();
      $("side").querySelector("input").focus();
    }}), el("output", {}, at < 0 ? "all" : `= ${f.moments[at]}`));
  const errors = D.agreement && nodes.map((k) => D.agreement.texts[k]).filter(Boolean).slice(0, 3);
  return [...head, p([form.op || form.kind, box.kind === "view" ? "(a view)" : "", form.shape ? shapeOf(box.node) : box.fact,
  form.dtype].filter(Boolean).join(" ")), slide,
  numbers(nodes), errors && [p(`relative error: ${range(nodes, "errors") || "not compared"}`),
    ...errors.map((t) => p(t, "note"))], all.length > 1 && chart(all, at),
  nodes.length === 1 && bars(nodes[0]), (box.written || []).map((k) => [h3(`${nameOf(k)} ${
    shapeOf(k)}`, "parameter"), numbers([k]), bars(k)]).flat(),
  form.line && [h3("source"), p(form.line, "code")]].flat();
}

function numbers(nodes) {
  const line = (field) => [field === "bad" ? "not finite" : field, ...["values", "grads"].map((m) => {
    const c = D[m], own = c ? nodes.filter((k) => c.size[k] !== null) : [];
    const xs = own.map((k) => c[field][k]).filter((x) => x !== null);
    if (!xs.length) return c ? "–" : "not computed";
    if (field === "zeros" || field === "bad") return xs.reduce((a, b) => a + b).toLocaleString("en");
    const [a, b] = [least, most].map((end) => num(end(xs), 4));
    return field === "min" ? a : field === "max" || a === b ? b : `${a} … ${b}`;
  })];
  return table(["", "value", "gradient"], ...["rms", "min", "max", "zeros", "bad", "size"].map(line));
}

function chart(all, at) { // rms through the repetitions, on a log scale
  const series = ["values", "grads"].filter((m) => D[m]).map((m) => [m, all.map((k) => size(k, m))]);
  const logs = series.flatMap(([, xs]) => xs.filter(good).map(log));
  if (!logs.length) return null;
  const low = Math.floor(least(logs)), high = max(low + 1, Math.ceil(most(logs)));
  const x = (k) => r(38 + 206 * k / (all.length - 1)), y = (v) => r(8 + 64 * (high - v) / (high - low));
  return el("svg", {viewBox: "0 0 250 80", class: "chart"}, [low, high].map((v) => [
    text(34, y(v) + 3, "small end", num(10 ** v)), el("path", {d: `M38 ${y(v)}H244`})])
    .flat(), series.map(([m, xs]) => el("path", {class: m, d: xs.map((v, k) => (good(v)
    ? `${good(xs[k - 1]) ? "L" : "M"}${x(k)} ${y(log(v))}` : "")).join("")})),
  at >= 0 && el("path", {d: `M${x(at)} 4V76`, class: "now"}));
}

function bars(k) {
  return ["values", "grads"].filter((m) => D.histograms?.[m]?.[k]).map((m) => {
    const [a, b, counts] = D.histograms[m][k], w = 240 / counts.length, top = max(...counts);
    return el("svg", {viewBox: "0 0 250 56", class: "chart"}, counts.map((c, j) => rect(5 + j * w,
      44 - 40 * c / top, w - 1, r(40 * c / top), m)), text(5, 54, "small", num(a, 3)),
    text(125, 54, "small mid", m === "grads" ? "gradients" : "values"),
    text(245, 54, "small end", num(b, 3)));
  });
}

function scopeFacts(item) {
  const s = item.scope, {name, when, facts} = about(item), weights = weightsIn(boxesIn(s));
  return [el("h2", {}, name), s.parent && p(path(s.parent), "note"), p(when), p(facts),
  s.line && [h3("source"), p(s.line, "code")], weights.length && [h3("parameters"),
    table(...weights.slice(0, 60).map((k) => [link(k), shapeOf(k),
      D.grads && `|g| ${num(size(k, "grads"))}`]))]].flat();
}

// ---- search -------------------------------------------------------------------------------------

let found = [], turn = -1;

function search(query) { // words that must be in the text of a node, and conditions on its numbers
  const tests = [], what = {grad: "grads", value: "values", error: "errors"};
  let words = query.toLowerCase().replace(/(grad|value|error)\s*(<=?|>=?|=)\s*([-+.\de]+)/g, (_, a, op, x) => {
    tests.push((k) => LOOK.scales[what[a]] && size(k, what[a]) !== null
      && op.includes("<=>"[Math.sign(size(k, what[a]) - x) + 1]));
    return "";
  }).replace(/\b(non-?finite|nan|inf|zero)\b/g, (flag) => {
    tests.push(flag === "zero" ? (k) => size(k) === 0 : (k) => D.values.bad[k] > 0 || D.grads?.bad[k] > 0);
    return "";
  });
  words = words.split(/\s+(?![^(]*\))/).filter(Boolean);
  const fits = D.forms.map((f) => [f.kind, f.op, f.name, f.options, f.shape && `(${f.shape.join(", ")})`,
    f.dtype].join(" ").toLowerCase()).map((t) => words.every((w) => t.includes(w)));
  return D.nodes.form.flatMap((f, k) => (fits[f] && tests.every((t) => t(k)) ? [k] : []));
}

function lookFor(query) {
  [hits, found, turn] = [null, [], -1];
  const groups = new Map(), nodes = query.trim() ? search(query) : [];
  for (const k of nodes) {
    const box = owner(k);
    if (box && !groups.has(box)) groups.set(box, k);
  }
  found = [...groups.values()];
  if (query.trim()) {
    hits = new Set(nodes.map((k) => D.nodes.shown[k]).concat([...groups.keys()].map((b) => b.key)));
  }
  $("count").textContent = hits ? `${nodes.length.toLocaleString("en")} of ${N.toLocaleString("en")}` : "";
  mark();
  if (!hits) return inspect();
  $("side").replaceChildren(el("h2", {}, `${plural(nodes.length, "node")} found`), el("ol", {},
    found.slice(0, 100).map((k) => el("li", {}, link(k)))));
}

function nextHit(step) {
  if (!found.length) return;
  turn = (turn + step + found.length) % found.length;
  goToNode(found[turn]);
}

// ---- the heat map: operations by repetition -----------------------------------------------------

const heat = {at: {row: 0, rep: 0}};
const heatFolds = () => D.scopes.filter((s) => s.moments && !folds(s.parent).length);

function heatRow(box) {
  const n = heat.fold.moments.length, each = box.members.length / n;
  const values = heat.fold.moments.map((_, k) =>
    mean(box.members.slice(k * each, (k + 1) * each).map((m) => size(m))));
  const known = values.map((x, k) => [x, k]).filter(([x]) => good(x));
  if (mode !== "grads" || known.length < 4) return {box, values, each, word: "", factor: ""};
  const [[first, a], [last, b]] = [known[0], known.at(-1)], all = first / last; // back through time
  return {box, values, each, factor: `×${num(all ** (1 / (b - a)), 3)} per step back`,
    word: all < 1e-3 ? "▼ vanishes" : all > 1e3 ? "▲ explodes" : ""};
}

function drawHeat() {
  const all = heatFolds(), canvas = $("heatmap"), here = places.get(selected);
  if (!all.length || $("heat").hidden) return;
  const around = here && folds(here.box ? here.box.home : here.key)[0];
  const cells = (f) => boxesIn(f).length * f.moments.length;
  heat.fold = around || heat.fold || all.reduce((a, b) => (cells(b) > cells(a) ? b : a));
  const {letter, moments, key} = heat.fold, n = moments.length, high = 13;
  heat.rows = boxesIn(heat.fold).filter((b) => b.kind === "operation").map(heatRow);
  $("heattitle").textContent = `${look().name}, operation by ${letter}, in ${path(key)}`;
  const room = max(320, $("heat").clientWidth - 26), left = 140, ratio = devicePixelRatio || 1;
  const wide = max(0.5, (room - left - 190) / n), c = canvas.getContext("2d");
  const tall = heat.rows.length * high, some = min(n, max(1, Math.floor(wide * n)));
  Object.assign(heat, {left, high, wide});
  [canvas.width, canvas.height] = [room * ratio, (tall + 14) * ratio];
  [canvas.style.width, canvas.style.height] = [`${room}px`, `${tall + 14}px`];
  const ink0 = getComputedStyle(document.body).color;
  const put = (words, x, y, align, colour = ink0, weight = "") => {
    c.font = `${weight} 10px Helvetica, Arial, sans-serif`;
    [c.textAlign, c.fillStyle] = [align, colour];
    c.fillText(words, x, y);
  };
  c.scale(ratio, ratio);
  heat.rows.forEach((row, j) => {
    const y = j * high, step = wide * n / some;
    put(plain(row.box).slice(0, 26), left - 6, y + 10, "right");
    columns(row.values, some).forEach(({colour, sign}, k) => {
      if (colour === "none") return;
      c.fillStyle = colour;
      c.fillRect(left + k * step, y, step + 0.5, high - 1);
      if (sign) put(sign, left + (k + 0.5) * step, y + 9.5, "center", ink(colour), "bold");
    });
    if (row.word) put(`${row.word} ${row.factor}`, left + n * wide + 8, y + 10, "left");
  });
  put(`${letter} = ${moments[0]}`, left, tall + 10, "left");
  put(moments.at(-1), left + n * wide, tall + 10, "right");
  c.strokeStyle = ink0;
  if (moment[key] >= 0) c.strokeRect(left + moment[key] * wide, 0.5, max(wide, 2), tall - 1);
}

function heatAt(e) {
  return {row: e.offsetY / heat.high | 0, rep: Math.floor((e.offsetX - heat.left) / heat.wide)};
}

function heatSay({row, rep}) {
  const {box, values, factor} = heat.rows[row] || {}, x = values?.[rep], {letter, moments} = heat.fold;
  $("heatsay").textContent = x === undefined ? "" : [plain(box), `${letter} = ${moments[rep]}`,
    Number.isNaN(x) ? "not finite" : num(x, 3), factor].filter(Boolean).join(", ");
}

function heatGo(at) {
  const row = heat.rows[at.row];
  if (!row || !(at.rep in row.values)) return;
  heat.at = at;
  goTo(row.box.key, at.rep * row.each);
  heatSay(at);
}

// ---- legend, keys, beginning --------------------------------------------------------------------

function drawLegend() {
  const m = look(), kinds = new Set(Object.values(BOXES).map((b) => b.kind));
  const key = (...parts) => el("span", {class: "key"}, ...parts);
  const swatch = (kind, words) => kinds.has(kind) && key(el("svg", {viewBox: "0 0 22 12",
    class: `swatch box ${kind}`}, rect(1, 1, 20, 10, "frame", {rx: kind === "port" ? 5 : 0})), words);
  $("legend").replaceChildren(...[key(`${m.name} ${m.ends[0]}`, el("svg", {viewBox:
    `0 0 ${m.palette.length} 1`, preserveAspectRatio: "none", class: "ramp"}, m.palette.map((fill, k) =>
    rect(k, 0, 1.1, 1, "", {fill}))), m.ends[1]), key(m.meaning),
  swatch("leaf", "takes a gradient"), swatch("constant", "constant"), swatch("port",
    "state, from step to step"), key(el("i", {class: "parameter"}, "parameter")),
  D.dtype && key(`${D.dtype} unless marked`)].filter(Boolean));
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
  $("heat").hidden = !shown || !heatFolds().length;
  $("heatkey").hidden = !heatFolds().length;
  drawHeat();
}

let dark = matchMedia("(prefers-color-scheme: dark)").matches;
function theme() {
  dark = !dark;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  drawHeat();
}

const ACTIONS = {
  ArrowUp: () => beside(-1), ArrowDown: () => beside(1), "+": () => zoomAt(1.25), "=": () => zoomAt(1.25),
  "-": () => zoomAt(0.8), 0: fit, "/": () => $("search").focus(), h: () => showHeat($("heat").hidden),
  e: () => openTo(Infinity), c: () => openTo(0), n: () => nextHit(1), p: () => nextHit(-1), t: theme,
  "?": () => { $("help").hidden = !$("help").hidden; },
  u: () => {
    const item = places.get(selected), f = item && folds(item.box ? item.box.home : item.key).at(-1);
    if (f) roll(f.key);
  },
  Escape: () => {
    $("help").hidden = true;
    $("search").value = "";
    lookFor("");
    select(null);
  },
};

function listen() {
  const svg = $("graph"), canvas = $("heatmap"), on = (e, what, f, how) => e.addEventListener(what, f, how);
  let held = null, dragged = false;
  on(svg, "pointerdown", (e) => { [held, dragged] = [[e.clientX, e.clientY], false]; });
  on(window, "pointerup", () => { held = null; });
  on(window, "pointermove", (e) => {
    const [dx, dy] = held ? [e.clientX - held[0], e.clientY - held[1]] : [0, 0];
    if (!held || (!dragged && Math.abs(dx) + Math.abs(dy) < 4)) return;
    [held, dragged] = [[e.clientX, e.clientY], true];
    moved({x: zoom.x - dx / zoom.k, y: zoom.y - dy / zoom.k, fitted: false});
  });
  on(svg, "wheel", (e) => {
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
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
    if (e.target === canvas && step) {
      heatGo({row: heat.at.row + step[0], rep: heat.at.rep + step[1]});
      canvas.focus();
    } else if (e.key === "Enter" && svg.contains(e.target)) press(e.target, true);
    else if (ACTIONS[e.key]) ACTIONS[e.key]();
    else return;
    e.preventDefault();
  });
  on($("search"), "input", (e) => lookFor(e.target.value));
  on($("search"), "keydown", (e) => e.key === "Enter" && nextHit(e.shiftKey ? -1 : 1));
  on(canvas, "mousemove", (e) => heatSay(heatAt(e)));
  on(canvas, "click", (e) => heatGo(heatAt(e)));
  on($("mode"), "change", () => {
    mode = $("mode").value;
    again(selected);
    drawLegend();
    select(selected);
  });
  for (const b of document.querySelectorAll("[data-key]")) on(b, "click", ACTIONS[b.dataset.key]);
  on(window, "beforeprint", () => svg.setAttribute("viewBox", `-8 -8 ${view.w + 16} ${view.h + 16}`));
  on(window, "afterprint", () => moved());
  new ResizeObserver(() => {
    (zoom.fitted ? fit : moved)();
    drawHeat();
  }).observe(svg);
}

document.title = $("title").textContent = D.title || "graph";
$("mode").append(...Object.entries(LOOK.scales).map(([value, m]) => el("option", {value}, m.name)));
build();
fit();
listen();
drawLegend();
inspect();
showHeat(innerHeight > 600);
