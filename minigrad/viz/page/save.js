// ---- the picture as a file ----------------------------------------------------------------------

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "paint-order",
  "font-family", "font-size", "font-weight", "font-style", "text-anchor", "marker-end"];

function asSvg() { // all of it, in the colours that are seen, for programs that know no style sheet
  const from = $("graph"), copy = from.cloneNode(true), w = view.w + 16, h = view.h + 16;
  const all = (e) => [...e.querySelectorAll("rect, path, circle, text, tspan")], own = all(from);
  all(copy).forEach((e, k) => {
    const style = getComputedStyle(own[k]);
    for (const s of STYLES) e.setAttribute(s, style.getPropertyValue(s));
  });
  for (const [name, value] of Object.entries({viewBox: `-8 -8 ${r(w)} ${r(h)}`, width: r(w),
    height: r(h)})) copy.setAttribute(name, value);
  const arrow = $("arrow").cloneNode(true);
  arrow.firstChild.setAttribute("fill", "context-stroke");
  copy.prepend(arrow, rect(-8, -8, w, r(h), "", {
    fill: getComputedStyle(document.body).backgroundColor}));
  for (const e of [copy, ...copy.querySelectorAll("*")]) {
    for (const {name} of [...e.attributes]) if (/^(class|data-|aria-|role|tab)/.test(name)) {
      e.removeAttribute(name);
    }
  }
  return new XMLSerializer().serializeToString(copy);
}

function save(kind) {
  const url = URL.createObjectURL(new Blob([asSvg()], {type: "image/svg+xml"}));
  const give = (to) => el("a", {href: to, download: `graph.${kind}`}).click();
  if (kind === "svg") return give(url);
  const image = el("img", {onload: () => {
    const k = min(2, 8000 / max(image.width, image.height)), c = el("canvas");
    [c.width, c.height] = [image.width * k, image.height * k];
    c.getContext("2d").drawImage(image, 0, 0, c.width, c.height);
    c.toBlob((b) => give(URL.createObjectURL(b)));
  }, src: url});
}
