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

function shownBy(k) { // the item that shows a node
  const box = owner(k);
  return box && find(box.key, box.members?.length > 1 ? repetitions(box, max(0,
    box.members.indexOf(k))) : {});
}

// ---- wires --------------------------------------------------------------------------------------

function connect() {
  for (const [source, target, label, position, state, left, times, rounds] of D.wires) {
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
    const [a, b] = [left[0], to.at(-1)?.key]; // round by round
    if (rounds && rows.has(a) && rows.has(b)) every = every.filter((reps) =>
      rounds.some(([p, q]) => reps[a] === p && reps[b] === q));
    const words = said([label, position && `(${position})`]);
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
    if (edge.label && old.label !== edge.label) old.label = old.label ? "several" : edge.label;
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
