// ---- the inspector ------------------------------------------------------------------------------

const owner = (k) => BOXES[`n${D.nodes.shown[k]}`] || BOXES[D.inside[D.nodes.shown[k]]];

const formOf = (k) => D.forms[D.nodes.form[k]];
const tuple = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
const shapeOf = (k) => tuple(formOf(k).shape || []);

function nameOf(k) {
  const box = owner(k), f = formOf(k), many = box?.members?.length > 1;
  if (!box || box.node !== D.nodes.shown[k]) return f.name || f.op;
  const reps = many ? repetitions(box, box.members.indexOf(k)) : {};
  return [plain(box), ...folds(box.home).filter((s) => s.key in reps).map((s) =>
    `${s.letter}=${s.moments[reps[s.key]]}`)].join(", ");
}

const goToNode = (k) => goTo(owner(k).key, owner(k).members?.indexOf(k));
const link = (k, name = nameOf(k), onclick = () => goToNode(k)) => (owner(k)
  ? el("button", {class: "link", onclick}, name) : name);
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
  const list = (title, lines, cls) => lines.length && [title && h3(title, cls), table(...lines.map(
    ([a, b, k, name]) => [a, [link(k, name), " ", b]]))];
  const boxes = big(Object.keys(BOXES).length);
  return [el("h2", {}, D.title), p(`${plural(N, "node")} on the tape, ${boxes} boxes here`),
  !D.grads && !D.agreement && p("Gradients are not computed: run backward() first, or show with "
    + "grads=True.", "bad"),
  list("not finite", LOOK.broken, "bad"), list("worst first", LOOK.worst), list("", LOOK.first),
  isCost() && [h3(look().name), table(["in all", spell(LOOK.totals[mode])], ...dearest())],
  p("Select a box for its numbers, press ? for keys", "note")].flat();
}

function dearest() { // the boxes that cost most
  const all = Object.values(BOXES).filter((b) => b.kind === "operation").map((box) => [box,
    costOf(spent({box, reps: {}}))]).filter(([, x]) => x).sort((a, b) => b[1] - a[1]);
  return all.slice(0, 8).map(([box, x]) => [link(box.node, plain(box), () => goTo(box.key)),
    spell(x), percent(x)]);
}

function costs(nodes) {
  const {forward, backward} = D.times || {}, sum = (xs) => nodes.reduce((all, k) => all + xs[k], 0);
  return [h3("cost"), table(...COSTS.map((what) => {
    const x = costOf(nodes, what);
    return [LOOK.scales[what].short, spell(x, what), percent(x, what)];
  })), backward && COSTS.includes("time") && p(`forward ${duration(sum(forward))}, backward ${
    duration(sum(backward))}`, "note")];
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
  return [...head, p(said([form.op || form.kind, box.kind === "view" && "(a view)",
    form.shape ? shapeOf(box.node) : box.fact, form.dtype])), slide,
  form.inputs?.length && p(`in ${form.inputs.map(tuple).join(", ")}`, "note"),
  numbers(nodes), form.op && costs(at < 0 ? spent({box, reps: {}}) : nodes), errors && [p(`relative error: ${range(nodes, "errors") || "not compared"}`),
    ...errors.map((t) => p(t, "note"))], all.length > 1 && chart(all, at), overTraining(nodes),
  nodes.length === 1 && bars(nodes[0]), (box.written || []).map((k) => [h3(`${nameOf(k)} ${
    shapeOf(k)}`, "parameter"), numbers([k]), overTraining([k]), bars(k)]).flat(),
  form.line && [h3("source"), p(form.line, "code")]].flat();
}

function setStep(at) {
  step = at;
  $("training").querySelector("input").value = at;
  $("training").lastChild.textContent = TRAINING.steps[at];
  again(selected);
  inspect();
  drawHeat();
}

const KINDS = ["values", "grads"];

function numbers(nodes) {
  const newest = !TRAINING || step === TRAINING.steps.length - 1; // of others, the rms alone is known
  const fields = newest ? ["rms", "min", "max", "zeros", "bad", "size"] : ["rms"];
  const line = (field) => [field === "bad" ? "not finite" : field, ...KINDS.map((m) => {
    const c = D[m];
    if (field === "rms" && c && TRAINING) return range(nodes, m) || "–";
    const own = c ? nodes.filter((k) => c.size[k] !== null) : [];
    const xs = own.map((k) => c[field][k]).filter((x) => x !== null);
    if (!xs.length) return c ? "–" : "not computed";
    if (/zeros|bad/.test(field)) return big(xs.reduce((a, b) => a + b));
    const [a, b] = [least, most].map((end) => (field === "size" ? big : num)(end(xs), 4));
    return field === "min" ? a : field === "max" || a === b ? b : `${a} … ${b}`;
  })];
  return table(["", "value", "gradient"], ...fields.map(line));
}

function overTraining(nodes) {
  return TRAINING && TRAINING.steps.length > 1 && [p(`over training, by ${TRAINING.letter}`, "note"),
    lines(KINDS.map((m) => [m, TRAINING.steps.map((_, at) => mean(nodes.map((k) => size(k, m,
      at))))]), step)];
}

function chart(all, at) { // rms through the repetitions
  return lines(KINDS.filter((m) => D[m]).map((m) => [m, all.map((k) => size(k, m))]), at);
}

function lines(series, at) { // on a log scale
  const logs = series.flatMap(([, xs]) => xs.filter(good).map(log));
  if (!logs.length) return null;
  const low = Math.floor(least(logs)), high = max(low + 1, Math.ceil(most(logs)));
  const x = (k) => r(38 + 206 * k / (series[0][1].length - 1));
  const y = (v) => r(8 + 64 * (high - v) / (high - low));
  return el("svg", {viewBox: "0 0 250 80", class: "chart"}, [low, high].map((v) => [
    text(34, y(v) + 3, "small end", num(10 ** v)), el("path", {d: `M38 ${y(v)}H244`})])
    .flat(), series.map(([m, xs]) => el("path", {class: m, d: xs.map((v, k) => (good(v)
    ? `${good(xs[k - 1]) ? "L" : "M"}${x(k)} ${y(log(v))}` : "")).join("")})),
  at >= 0 && el("path", {d: `M${x(at)} 4V76`, class: "now"}));
}

function bars(k) {
  return KINDS.filter((m) => D.histograms?.[m]?.[k]).map((m) => {
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
  costs(spent(item)),
  s.line && [h3("source"), p(s.line, "code")], weights.length && [h3("parameters"),
    table(...weights.slice(0, 60).map((k) => [link(k), shapeOf(k),
      D.grads && `|g| ${num(size(k, "grads"))}`]))]].flat();
}

// ---- search -------------------------------------------------------------------------------------

let found = [], turn = -1, texts, textOf, timeOf; // of nodes: what is written on the screen; which repetition they are

const flat = (words) => words.toLowerCase().replace(/\s*([=,·:→×])\s*/g, "$1")
  .replace(/(\()\s+|\s+(\))/g, "$1$2");

function collect() {
  const known = new Map(), times = new Map();
  texts = [];
  timeOf = [];
  textOf = D.nodes.form.map((form, k) => {
    const u = D.nodes.shown[k], id = `${form},${u}`, f = D.forms[form];
    timeOf.push(times.get(u) || 0);
    times.set(u, timeOf[k] + 1);
    if (!known.has(id)) {
      const box = owner(k), around = box ? chain(box.home).map((s) => s.title) : [];
      const where = around.map((title) => title.split(":")[0].split(" ×")[0]).join("/");
      const title = box && box.node === u ? plain(box) : "";
      known.set(id, texts.push(flat(said([f.kind, f.op, f.name, f.options, shapeOf(k),
        f.dtype, `${where}: ${title}`, ...around], "  "))) - 1);
    }
    return known.get(id);
  });
}

function moments(k, letter) { // when a node is, by the letters of the loops around it
  const box = owner(k), n = box?.members?.length;
  const reps = n > 1 && timeOf[k] < n ? repetitions(box, timeOf[k]) : {};
  return folds(box?.home || D.scopes[0].key).filter((f) => f.letter === letter && f.key in reps)
    .map((f) => f.moments[reps[f.key]]);
}

// words that must be on the screen, and conditions on numbers and times; what is not understood
function search(query) {
  if (!texts) collect();
  const tests = [], strange = [], what = {grad: "grads", gradient: "grads", value: "values",
    error: "errors"};
  for (const cost of COSTS) what[cost] = cost;
  const letters = new Set(D.scopes.map((s) => s.letter));
  const holds = (op, a, b) => op.includes("<=>"[Math.sign(a - b) + 1]);
  const condition = (all, name, op, x) => {
    const kind = what[name.toLowerCase()], time = letters.has(name);
    if (op === "=" && !(kind || time)) return all;
    if (!x || Number.isNaN(+x) || !(kind || time)) strange.push(`${all.trim()} is not understood`
      + (name.length === 1 ? `: no loop here counts ${name}` : ""));
    else if (kind && !LOOK.scales[kind]) strange.push(`no ${name} is known here`);
    else if (kind) {
      const known = isCost(kind) ? cost : size;
      tests.push((k) => known(k, kind) !== null && holds(op, known(k, kind), +x));
    }
    else tests.push((k) => moments(k, name).some((m) => holds(op, m, +x)));
    return " ";
  };
  const left = query.replace(/,?\s*([\w|]*)\s*([<>]=?|=)\s*([^\s,<>=]*)/g, condition)
    .replace(/\b(non-?finite|zero)\b/gi, (flag) => {
      tests.push(/zero/i.test(flag) ? (k) => size(k) === 0
        : (k) => D.values.bad[k] > 0 || D.grads?.bad[k] > 0);
      return " ";
    });
  const words = flat(left).split(/\s+/).filter(Boolean);
  for (const w of words) if (!texts.some((t) => t.includes(w))) strange.push(`no ${w} is here`);
  const fits = texts.map((t) => !strange.length && words.every((w) => t.includes(w)));
  return [D.nodes.form.flatMap((_, k) => (fits[textOf[k]] && tests.every((f) => f(k)) ? [k] : [])),
    strange];
}

function lookFor(query) {
  [hits, found, turn] = [null, [], -1];
  const groups = new Map(), [nodes, strange] = query.trim() ? search(query) : [[], []];
  for (const k of nodes) {
    const box = owner(k);
    if (box && !groups.has(box)) groups.set(box, k);
  }
  found = [...groups.values()];
  if (query.trim()) {
    hits = new Set(nodes.concat(nodes.map((k) => D.inside[D.nodes.shown[k]])));
  }
  $("count").textContent = hits ? said([`${big(nodes.length)} of ${big(N)}`, ...strange], "; ") : "";
  mark();
  if (!hits) return inspect();
  $("side").replaceChildren(el("h2", {}, `${plural(nodes.length, "node")} found`), ...strange.map(
    (words) => p(words, "bad")), strange.length ? p("Write what is on the screen, or a condition:"
    + " grad < 1e-6, value > 10, t=5", "note") : "", el("ol", {},
    found.slice(0, 100).map((k) => el("li", {}, link(k)))));
}

function nextHit(step) {
  if (!found.length) return;
  turn = (turn + step + found.length) % found.length;
  goToNode(found[turn]);
}

// ---- the heat map: operations by repetition -----------------------------------------------------

const heat = {at: {row: 0, rep: 0}};

// the columns of a row, where several repetitions share one: the worst of them, which is not finite,
// zero, the largest error, or the farthest from what is usual in this row
function heatCells(values) {
  const logs = values.filter(good).map(log).sort((a, b) => a - b), mid = logs[logs.length >> 1];
  const bad = (x) => (x === null ? -1 : Number.isNaN(x) ? 1e99 : !x ? 1e9
    : mode === "errors" ? x : Math.abs(log(x) - mid));
  return Array.from({length: heat.some}, (_, k) => cell([values.slice(...heatCut(k)).reduce(
    (a, b) => (bad(b) > bad(a) ? b : a))]));
}
const heatCut = (k) => [k, k + 1].map((j) => round(j * heat.fold.moments.length / heat.some));
let byStep = Boolean(TRAINING); // of training, rather than of a loop
const heatFolds = () => D.scopes.filter((s) => s.moments && !folds(s.parent).length);

function heatSteps() { // a row for each operation and parameter, over training
  const boxes = boxesIn(D.scopes[0]).filter((b) => b.kind === "operation");
  const row = (name, box, nodes) => ({name, box, word: "", factor: "",
    values: TRAINING.steps.map((_, at) => mean(nodes.map((k) => size(k, mode, at))))});
  return [...weightsIn(boxes).map((k) => row(formOf(k).name, owner(k), [k])),
    ...boxes.map((b) => row(plain(b), b, b.members))];
}

function heatRow(box) {
  const n = heat.fold.moments.length, each = box.members.length / n;
  const values = heat.fold.moments.map((_, k) =>
    mean(box.members.slice(k * each, (k + 1) * each).map((m) => size(m))));
  const known = values.map((x, k) => [x, k]).filter(([x]) => good(x));
  const name = plain(box);
  if (mode !== "grads" || known.length < 4) return {name, box, values, each, word: "", factor: ""};
  const [[first, a], [last, b]] = [known[0], known.at(-1)], all = first / last; // back through time
  return {name, box, values, each, factor: `×${num(all ** (1 / (b - a)), 3)} per step back`,
    word: all < 1e-3 ? "▼ vanishes" : all > 1e3 ? "▲ explodes" : ""};
}

function drawHeat() {
  const all = heatFolds(), canvas = $("heatmap"), here = places.get(selected);
  const trained = TRAINING?.[mode] && (byStep || !all.length);
  $("heatby").hidden = !TRAINING?.[mode] || !all.length;
  if ((!all.length && !trained) || $("heat").hidden) return;
  const around = here && folds(here.box ? here.box.home : here.key)[0];
  const cells = (f) => boxesIn(f).length * f.moments.length;
  const loop = around || (heat.fold !== TRAINING && heat.fold) || all.reduce((a, b) => (
    !a || cells(b) > cells(a) ? b : a), null);
  $("heatby").textContent = trained ? `by ${loop?.letter}` : `by ${TRAINING?.letter}`;
  heat.fold = trained ? TRAINING : loop;
  const {letter, moments, key} = heat.fold, n = moments.length, high = 13;
  heat.rows = trained ? heatSteps()
    : boxesIn(heat.fold).filter((b) => b.kind === "operation").map(heatRow);
  const room = max(320, $("heat").clientWidth - 26), ratio = devicePixelRatio || 1;
  const slim = room < 600, left = slim ? 96 : 140; // a phone: without factors and the scale
  const wide = max(60, room - left - (slim ? 70 : 190)) / n, c = canvas.getContext("2d");
  const tall = heat.rows.length * high, some = min(n, Math.floor(wide * n));
  Object.assign(heat, {left, high, wide, some});
  $("heattitle").textContent = `${look().name}, operation by ${letter}`
    + (trained ? "" : `, in ${path(key)}`)
    + (some < n ? `; a column is the worst of ${Math.ceil(n / some)}` : "");
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
    put(row.name.slice(0, slim ? 17 : 26), left - 6, y + 10, "right");
    heatCells(row.values).forEach(({colour, sign}, k) => {
      if (colour === "none") return;
      c.fillStyle = colour;
      c.fillRect(left + k * step, y, step + 0.5, high - 1);
      if (sign && step > 5) put(sign, left + (k + 0.5) * step, y + 9.5, "center", ink(colour),
        "bold");
    });
    if (row.word) put(slim ? row.word : `${row.word} ${row.factor}`, left + n * wide + 8, y + 10, "left");
  });
  put(`${letter} = ${moments[0]}`, left, tall + 10, "left");
  put(moments.at(-1), left + n * wide, tall + 10, "right");
  const ends = left + n * wide + 8, {palette} = look();
  if (!slim) {
    put(look().ends[0], ends, tall + 10, "left");
    const from = ends + c.measureText(look().ends[0]).width + 4;
    palette.forEach((colour, k) => {
      c.fillStyle = colour;
      c.fillRect(from + k * 60 / palette.length, tall + 3, 60 / palette.length + 0.5, 8);
    });
    put(look().ends[1], from + 64, tall + 10, "left");
  }
  c.strokeStyle = ink0;
  const now = trained ? step : moment[key];
  if (now >= 0) c.strokeRect(left + now * wide, 0.5, max(wide, 2), tall - 1);
}

function heatAt(e) {
  return {row: e.offsetY / heat.high | 0, rep: Math.floor((e.offsetX - heat.left) / heat.wide)};
}

function heatSay({row, rep}) {
  const {name, values, factor} = heat.rows[row] || {}, x = values?.[rep];
  const {letter, moments} = heat.fold;
  const [a, b] = heatCut(Math.floor(rep * heat.some / moments.length)), all = b - a > 1;
  $("heatsay").textContent = x === undefined ? "" : said([name,
    `${letter} = ${moments[rep]}`, all && `in ${moments[a]} … ${moments[b - 1]}`, Number.isNaN(x) ? "not finite" : isCost()
      ? spell(x * LOOK.totals[mode] / values.length) : num(x, 3), factor], ", ");
}

function heatGo(at) {
  const row = heat.rows[at.row];
  if (!row || !(at.rep in row.values)) return;
  heat.at = at;
  if (heat.fold === TRAINING) setStep(at.rep);
  goTo(row.box.key, at.rep * row.each);
  heatSay(at);
}
