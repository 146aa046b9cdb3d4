// A chart: boxes and lines on two axes, one shape for each look, and what is told of the place that is pointed at or
// reached by the arrow keys.
const SVG = "http://www.w3.org/2000/svg";
const SIDE = 1000; // of the drawing, which is stretched over the plot
const GAP_PX = 12; // between labels

class Chart {
  constructor(root) {
    [this.lows, this.plot, this.below] = root.children;
    this.root = root;
    this.at = -1; // which spot is told of
    this.left = -1; // and was when the keyboard left
    this.plot.tabIndex = 0;
    this.plot.addEventListener("pointermove", (event) => this.tell(this.spotAt(event)));
    this.plot.addEventListener("pointerleave", () => this.tell(-1));
    this.plot.addEventListener("click", (event) => {
      this.tell(this.spotAt(event)); // a finger has left it by now
      this.pick(this.at);
    });
    this.plot.addEventListener("keydown", (event) => this.onKey(event));
    this.plot.addEventListener("blur", () => {
      this.left = this.at;
      this.tell(-1);
    });
    new ResizeObserver(() => this.thin()).observe(this.plot);
  }

  show(data) {
    const version = JSON.stringify(data);
    if (version === this.version) return;
    Object.assign(this, { version, data });
    this.root.style.setProperty("--left", `${data.left}px`);
    this.root.style.setProperty("--height", `${data.height}px`);
    this.plot.classList.toggle("picks", data.picks);
    this.plot.replaceChildren(...this.hatchings(), this.drawing());
    this.label(this.lows, data.y, "top");
    this.label(this.below, data.x, "left");
    this.thin();
    this.tell(Math.min(this.at, data.spots.length - 1));
  }

  // Of the width, and of the height from the top: 0 to 1.
  x(value) { return share(value, this.data.x.ends); }
  y(value) { return 1 - share(value, this.data.y.ends); }

  drawing() {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${SIDE} ${SIDE}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const { x, y, shapes } = this.data;
    const grid = [
      ...(y.grid ? y.ticks.map(([value]) => [...x.ends, value, value]) : []),
      ...(x.grid ? x.ticks.map(([value]) => [value, value, ...y.ends]) : []),
    ];
    if (grid.length) this.draw(svg, { look: "line", colour: "rgb(128 140 152)", opacity: 0.25, width: 1, boxes: grid });
    for (const shape of shapes) if (shape.look !== "hatch") this.draw(svg, shape);
    return svg;
  }

  draw(svg, { look, colour, opacity, width, boxes }) {
    const fills = look === "fill";
    const parts = boxes.map(([left, right, low, high]) => {
      const [x, x2] = [this.x(left) * SIDE, this.x(right) * SIDE].map(short);
      const [y, y2] = [this.y(low) * SIDE, this.y(high) * SIDE].map(short);
      return fills ? `M${x} ${y}H${x2}V${y2}H${x}Z` : `M${x} ${y}L${x2} ${y2}`;
    });
    const path = document.createElementNS(SVG, "path");
    const given = fills ? { fill: colour } : { stroke: colour, "stroke-width": width, "vector-effect": "non-scaling-stroke" };
    if (look === "dashed") given["stroke-dasharray"] = "5 3";
    for (const [name, value] of Object.entries({ d: parts.join(""), opacity, ...given })) path.setAttribute(name, value);
    svg.append(path);
  }

  // A pattern in the drawing would be stretched with it.
  hatchings() {
    return this.data.shapes.filter(({ look }) => look === "hatch").flatMap(({ boxes }) => boxes).map((box) => this.over("i", box));
  }

  over(tag, [left, right, low, high]) {
    const made = document.createElement(tag);
    const [top, bottom] = [this.y(high), this.y(low)];
    Object.assign(made.style, { left: percent(this.x(left)), width: percent(this.x(right) - this.x(left)) });
    Object.assign(made.style, { top: percent(top), height: percent(bottom - top) });
    return made;
  }

  label(place, axis, side) {
    place.replaceChildren();
    for (const [value, text] of axis.ticks) {
      const at = side === "top" ? this.y(value) : this.x(value);
      const label = put(place, "span", at < 0.03 ? "first" : at > 0.97 ? "last" : "", text);
      label.style[side] = percent(at);
      label.title = side === "top" ? text : "";
    }
  }

  // As many labels below as there is room for.
  thin() {
    const labels = [...this.below.children];
    for (const label of labels) label.hidden = false;
    const widest = Math.max(0, ...labels.map((label) => label.offsetWidth)) + GAP_PX;
    const every = Math.ceil((widest * labels.length) / Math.max(this.below.clientWidth, widest));
    labels.forEach((label, index) => (label.hidden = index % every > 0));
  }

  spotAt(event) {
    const { left, top, width, height } = this.plot.getBoundingClientRect();
    const [x, y] = [(event.clientX - left) / width, (event.clientY - top) / height];
    const within = (at, one, other) => Math.min(one, other) <= at && at < Math.max(one, other);
    return this.data.spots.findIndex(({ box: [from, to, low, high] }) =>
      within(x, this.x(from), this.x(to)) && within(y, this.y(low), this.y(high)));
  }

  onKey(event) {
    const last = this.data.spots.length - 1;
    const at = Math.max(this.at, this.left);
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: last };
    if (event.key in to) this.tell(at < 0 ? last : Math.max(0, Math.min(last, to[event.key])));
    else if (event.key === "Enter" || event.key === " ") this.pick(this.at);
    else if (event.key === "Escape") this.tell(-1);
    else return;
    event.preventDefault();
  }

  pick(index) {
    if (this.data.picks && this.data.spots[index]) this.onPick(this.data.spots[index].box[0]);
  }

  tell(index) {
    if (this.told === this.version && index === this.at) return;
    Object.assign(this, { at: index, told: this.version });
    if (index >= 0) this.left = -1;
    this.plot.querySelector(".spot")?.remove();
    this.root.querySelector(".tip")?.remove();
    this.describe();
    const spot = this.data.spots[index];
    if (!spot) return;
    const frame = this.over("div", spot.box);
    frame.className = "spot";
    this.plot.append(frame);
    const tip = put(this.root, "div", "tip");
    const lines = put(tip, "div");
    for (const [name, text] of [...spot.told, ...(spot.utc ? [["UTC", spot.utc]] : [])]) {
      put(lines, "b", "", name);
      put(lines, "span", "", text);
    }
    tip.setAttribute("aria-hidden", "true"); // the plot says it
    const middle = this.plot.offsetLeft + frame.offsetLeft + frame.offsetWidth / 2 - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(middle, this.root.clientWidth - tip.offsetWidth))}px`;
    const above = this.plot.offsetTop + frame.offsetTop - tip.offsetHeight - 6;
    tip.style.top = `${above > -tip.offsetHeight / 2 ? above : this.plot.offsetTop + frame.offsetTop + 6}px`;
  }

  // In words, for whoever cannot see it.
  describe() {
    const { spots, label } = this.data;
    const spot = spots[this.at];
    const said = { "aria-label": label, role: spots.length ? "slider" : "img" };
    if (spots.length) {
      said["aria-valuemin"] = 1;
      said["aria-valuemax"] = spots.length;
      said["aria-valuenow"] = Math.max(this.at, 0) + 1;
      said["aria-valuetext"] = spot ? spot.told.map((words) => words.join(": ")).join("; ") : "arrow keys tell the figures";
    }
    for (const [name, value] of Object.entries(said)) this.plot.setAttribute(name, value);
  }
}

function share(value, [from, to]) {
  return to === from ? 0 : (value - from) / (to - from);
}

function short(value) {
  return Math.round(value * 100) / 100;
}

function percent(part) {
  return `${(100 * part).toFixed(3)}%`;
}

const charts = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".chart");
  const chart = charts.get(root) || new Chart(root);
  charts.set(root, chart);
  chart.onPick = (begin) => setTriggerValue("pick", begin);
  chart.show(data);
}
