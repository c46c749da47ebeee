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
  const last = most(kids.map((n) => n.rank + n.span));
  const gap = RANK + (edges.some((e) => e.label) ? 10 : 0);
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
    : !k && ins.length ? gap - 14 : gap);
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
    if (run.length && max(low, from) <= min(high, to)) {
      [low, high] = [max(low, from), min(high, to)];
    } else {
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
