// Draws the plots of a record. All texts are set as text, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 340, LEFT = 64, RIGHT = 16, TOP = 12, BOTTOM = 44;
const PAD = 6; // keeps the outer points off the edge
const LABEL_ROOM = 72; // pixels between the labels of the x axis

const element = (name, attributes = {}, text = null) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
};

const shape = (parent, name, attributes = {}, text = null) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return parent.appendChild(made);
};

const number = (value, digits = 4) => {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(digits)));
};

/** A scale from values to pixels, with its ticks. */
const makeScale = (low, high, from, to, isLog, count) => {
  const forward = isLog ? Math.log10 : (value) => value;
  let [a, b] = [forward(low), forward(high)];
  if (!(b > a)) { const room = isLog ? 0.5 : Math.abs(a) * 0.1 || 1; a -= room; b += room; }
  const at = (value) => from + ((forward(value) - a) / (b - a)) * (to - from);
  const inside = (value) => value >= a - 1e-9 * (b - a) && value <= b + 1e-9 * (b - a);
  let ticks = [];
  if (isLog) {
    const every = Math.max(1, Math.ceil((b - a) / count));
    const steps = b - a > 2 ? [1] : b - a > 0.6 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
    for (let decade = Math.floor(a); decade <= b; decade += every) for (const step of steps) ticks.push(step * 10 ** decade);
    ticks = ticks.filter((tick) => inside(Math.log10(tick)));
  } else {
    const rough = (b - a) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    for (let k = Math.ceil(a / step); k * step <= b + 1e-9 * (b - a); k += 1) ticks.push(k * step);
  }
  return { at, ticks };
};

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

const curveValues = (curve) => [...curve.points.map((p) => p[1]), ...curve.spread.flatMap((s) => [s[1], s[2]])];

class Plot {
  constructor(figure, chart) {
    this.chart = chart;
    this.hidden = new Set();
    this.cursor = null; // index into the values of x
    this.isLog = chart.y_scale === "log";
    this.isWhole = false; // whether everything is shown, not only what is worth seeing
    this.svg = shape(figure, "svg", { role: "img", tabindex: 0, height: HEIGHT, "aria-label": chart.title + ": " + chart.y + " by " + chart.x });
    this.tip = figure.appendChild(element("div", { class: "tip", "aria-live": "polite", hidden: "" }));
    this.legend(figure);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.show(null));
    this.svg.addEventListener("blur", () => this.show(null));
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const last = this.xs.length - 1;
      this.show(Math.min(last, Math.max(0, this.cursor === null ? (step > 0 ? 0 : last) : this.cursor + step)));
    });
    new ResizeObserver(() => { if (this.width !== this.widthNow()) this.draw(); }).observe(figure);
    this.draw();
  }

  get shown() { return this.chart.curves.filter((_, index) => !this.hidden.has(index)); }

  /** Its color: gray for what is only the background of another. */
  ink(curve) {
    const bright = this.chart.curves.filter((other) => !other.faint);
    return "ink" + (curve.faint ? 0 : 1 + (bright.indexOf(curve) % 7));
  }

  legend(figure) {
    const row = figure.appendChild(element("div", { class: "legend" }));
    this.chart.curves.forEach((curve, index) => {
      const key = row.appendChild(element("button", { type: "button", "aria-pressed": "true", class: this.ink(curve) }));
      key.append(element("i", { class: curve.line ? "line" : "dot" }), document.createTextNode(curve.label));
      key.addEventListener("click", () => {
        if (!this.hidden.delete(index)) this.hidden.add(index);
        key.setAttribute("aria-pressed", String(!this.hidden.has(index)));
        this.draw();
      });
    });
    for (const mark of this.chart.marks) row.append(element("span", { class: "mark" }, mark.label));
    const choice = (text, key, value) => {
      const label = row.appendChild(element("label", {}, " " + text));
      const box = element("input", { type: "checkbox" });
      box.checked = value;
      label.prepend(box);
      box.addEventListener("change", () => { this[key] = box.checked; this.draw(); });
    };
    if (this.chart.curves.every((curve) => curveValues(curve).every((y) => y > 0))) choice("log scale", "isLog", this.isLog);
    if (this.chart.y_limits) choice("show all of it", "isWhole", false);
  }

  scales(width) {
    const xs = this.shown.flatMap((curve) => curve.points.map((p) => p[0]));
    const isLogX = this.chart.x_scale === "log" && xs.every((x) => x > 0);
    this.xs = [...new Set(xs)].sort((a, b) => a - b);
    this.x = makeScale(...extent(xs), LEFT + PAD, width - RIGHT - PAD, isLogX, Math.max(2, Math.floor((width - LEFT) / LABEL_ROOM)));
    let [low, high] = extent(this.shown.flatMap(curveValues));
    if (this.chart.y_limits && !this.isWhole) [low, high] = this.isLog ? [low, this.chart.y_limits[1]] : this.chart.y_limits;
    const margin = this.isLog ? 0 : 0.04 * (high - low);
    this.y = makeScale(low - margin, high + margin, HEIGHT - BOTTOM, TOP, this.isLog && low > 0, 6);
  }

  widthNow() { return Math.max(280, Math.floor(this.svg.parentElement.clientWidth)); }

  draw() {
    const width = this.width = this.widthNow();
    this.svg.replaceChildren();
    this.svg.setAttribute("width", width);
    if (!this.shown.some((curve) => curve.points.length)) { this.xs = []; this.show(null); return; }
    this.scales(width);
    const clip = "clip" + Plot.count++;
    shape(shape(shape(this.svg, "defs"), "clipPath", { id: clip }), "rect", { x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM });
    this.axes(width);
    this.inner = shape(this.svg, "g", { "clip-path": "url(#" + clip + ")" });
    for (const mark of this.chart.marks) this.mark(mark);
    this.chart.curves.forEach((curve, index) => { if (!this.hidden.has(index)) this.curve(curve, this.ink(curve)); });
    this.cross = shape(this.inner, "line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.dots = shape(this.inner, "g");
    this.show(null);
  }

  axes(width) {
    const bottom = HEIGHT - BOTTOM;
    let last = -Infinity;
    for (const tick of this.x.ticks) {
      const x = this.x.at(tick);
      shape(this.svg, "line", { class: "grid", x1: x, x2: x, y1: TOP, y2: bottom });
      if (x - last < LABEL_ROOM * 0.6) continue;
      last = x;
      shape(this.svg, "text", { x, y: bottom + 16, "text-anchor": "middle" }, number(tick));
    }
    for (const tick of this.y.ticks) {
      const y = this.y.at(tick);
      shape(this.svg, "line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y });
      shape(this.svg, "text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, number(tick));
    }
    shape(this.svg, "text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle", class: "label" }, this.chart.x);
    const middle = (TOP + bottom) / 2;
    shape(this.svg, "text", { x: 12, y: middle, "text-anchor": "middle", class: "label", transform: "rotate(-90 12 " + middle + ")" }, this.chart.y);
  }

  mark(mark) {
    const [from, to] = [this.x.at(mark.low), this.x.at(mark.high)];
    if (mark.low === mark.high) shape(this.inner, "line", { class: "mark", x1: from, x2: from, y1: TOP, y2: HEIGHT - BOTTOM });
    else shape(this.inner, "rect", { class: "mark", x: from, width: Math.max(0, to - from), y: TOP, height: HEIGHT - TOP - BOTTOM });
  }

  curve(curve, ink) {
    const place = ([x, y]) => this.x.at(x).toFixed(1) + "," + this.y.at(y).toFixed(1);
    if (curve.spread.length) {
      const around = [...curve.spread.map((s) => [s[0], s[2]]), ...curve.spread.map((s) => [s[0], s[1]]).reverse()];
      shape(this.inner, "polygon", { class: ink + " spread", points: around.map(place).join(" ") });
    }
    if (curve.line) shape(this.inner, "polyline", { class: ink + " line", points: curve.points.map(place).join(" ") });
    if (curve.line && curve.points.length > 24) return;
    for (const p of curve.points) shape(this.inner, "circle", { class: ink + " dot", r: 2.5, cx: this.x.at(p[0]).toFixed(1), cy: this.y.at(p[1]).toFixed(1) });
  }

  point(event) {
    const box = this.svg.getBoundingClientRect(), x = event.clientX - box.left;
    let best = null;
    this.xs.forEach((value, index) => {
      if (best === null || Math.abs(this.x.at(value) - x) < Math.abs(this.x.at(this.xs[best]) - x)) best = index;
    });
    this.show(best);
  }

  /** Tell the values at an x; null: none. */
  show(index) {
    this.cursor = index;
    this.tip.hidden = index === null;
    if (this.dots) this.dots.replaceChildren();
    if (this.cross) this.cross.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index === null) return;
    const value = this.xs[index], x = this.x.at(value);
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    const lines = [element("b", {}, this.chart.x + " " + number(value))];
    this.shown.forEach((curve) => {
      const found = curve.points.find((p) => p[0] === value);
      if (found === undefined) return;
      lines.push(element("span", { class: this.ink(curve) }, curve.label + " " + number(found[1])));
      shape(this.dots, "circle", { class: "here " + this.ink(curve), r: 4, cx: x, cy: this.y.at(found[1]) });
    });
    this.tip.replaceChildren(...lines);
    const right = x > this.svg.clientWidth / 2;
    this.tip.style.left = right ? "auto" : this.svg.offsetLeft + x + 12 + "px";
    this.tip.style.right = right ? this.svg.parentElement.clientWidth - x + 12 + "px" : "auto";
    this.tip.style.top = this.svg.offsetTop + TOP + 4 + "px";
  }
}
Plot.count = 0;

const drawAll = (charts) => {
  document.querySelectorAll("figure").forEach((figure, index) => new Plot(figure, charts[index]));
};
drawAll(JSON.parse(document.getElementById("charts").textContent));
