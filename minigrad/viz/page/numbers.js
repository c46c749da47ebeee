"use strict";
// The page of mg.viz.show: it reads the JSON in the page (see export.py), lays out what is not
// folded or shut, and does so anew when something is opened. Its files stand one after the other in
// the page, in the order of this list:
//
//     numbers    reading the JSON; what is known of a node, and the colours for it
//     view       what there is to see: items in items, with the wires between them
//     layout     where everything stands
//     drawing    boxes, frames and wires; zoom; selection
//     panels     the inspector, the search, the heat map
//     save       the picture as a file
//     page       the legend, the keys, the beginning

const {graph: D, look: LOOK} = JSON.parse(document.getElementById("data").textContent);
for (const [key, box] of Object.entries(D.boxes)) box.key = key;
const SCOPES = new Map(D.scopes.map((s) => [s.key, s])), BOXES = D.boxes, N = D.nodes.form.length;
const $ = (id) => document.getElementById(id), log = Math.log10, {min, max, round} = Math;
const LANES = 24, GUILTY = LOOK.said.map((row) => row[2]).filter((k) => k !== null);

function el(tag, attributes, ...kids) {
  const e = /^(svg|g|rect|path|circle|text|tspan|title)$/.test(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v != null) e.setAttribute(k, v);
  }
  e.append(...kids.flat(2).filter((k) => k != null && k !== "" && k !== false));
  return e;
}
const rect = (x, y, w, h, cls, more) => el("rect", {x: r(x), y: r(y), width: r(w), height: h,
  class: cls, ...more});
const text = (x, y, cls, ...kids) => el("text", {x: r(x), y: r(y), class: cls}, ...kids);
const r = (x) => round(x * 10) / 10;
const said = (parts, between = " ") => parts.filter(Boolean).join(between); // what there is
const plain = (box) => box.title.map((t) => t[0]).join("");
const big = (n) => n.toLocaleString("en");
const plural = (n, what) => `${big(n)} ${what}${n === 1 ? "" : "s"}`;
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

let mode = Object.keys(LOOK.scales)[0]; // errors, grads, values, or a cost
const look = () => LOOK.scales[mode];
const TRAINING = D.training && {...D.training, letter: D.training.name,
  moments: D.training.steps, key: "training"};
let step = TRAINING ? TRAINING.steps.length - 1 : 0; // of training, the one that is looked at
const COSTS = Object.keys(LOOK.totals), isCost = (what = mode) => COSTS.includes(what);

// what node k costs: null where it is not known
function cost(k, what) {
  const {forward, backward} = D.times || {};
  return what === "time" ? forward[k] + (backward ? backward[k] : 0) : formOf(k)[what];
}

function costOf(nodes, what = mode) {
  const known = nodes.map((k) => cost(k, what)).filter((x) => x !== null);
  return known.length || !nodes.length ? known.reduce((a, b) => a + b, 0) : null;
}
const spell = (x, what = mode) => (x === null ? "not known" : what === "time" ? duration(x)
  : amount(x) + (what === "flops" ? "" : "B"));
const percent = (x, what = mode) => (x === null ? "" : `${num(100 * x / LOOK.totals[what], 3)} %`);

function amount(n) {
  const k = "kMGTP".split("").filter((_, j) => n >= 999.5 * 1000 ** j).length;
  return num(n / 1000 ** k, 3) + "kMGTP".charAt(k - 1);
}

function duration(s) {
  const k = [0, 1, 2].find((j) => s >= 0.9995 / 1000 ** j) ?? 3;
  return `${num(s * 1000 ** k, 3)} ${["s", "ms", "µs", "ns"][k]}`;
}

// what is known of node k: null for nothing, nan for what is not finite or was not compared
function size(k, what = mode, at = step) {
  if (what === "errors") {
    const x = D.agreement.errors[k];
    return x === undefined ? null : x ?? NaN;
  }
  if (isCost(what)) { // as a part of the whole, if all repetitions cost as much
    const x = formOf(k).op && cost(k, what), all = owner(k)?.members?.length || 1;
    return x ? all * x / LOOK.totals[what] : null;
  }
  if (TRAINING?.[what]) {
    const x = TRAINING[what][at][k];
    return x < 0 ? NaN : x;
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

// the mean of several: geometric, of a cost arithmetic, or the largest error; nan if one is
function mean(values) {
  const known = values.filter((x) => x !== null), logs = known.filter(good).map(log);
  if (!known.length) return null;
  if (isCost()) return known.reduce((a, b) => a + b) / known.length;
  return !known.every(Number.isFinite) ? NaN : !logs.length ? 0
    : 10 ** (mode === "errors" ? most(logs) : logs.reduce((a, b) => a + b) / logs.length);
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
