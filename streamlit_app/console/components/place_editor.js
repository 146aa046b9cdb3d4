// Lines and zones on a camera's picture: drawn, moved, named and set here; it is the page that saves them.
const SVG = "http://www.w3.org/2000/svg", WIDE = 1000, STEP = 0.005, LEAST = -0.5, MOST = 1.5, NEAR_PX = 14;
const within = (value) => Math.round(1e4 * Math.min(MOST, Math.max(LEAST, value))) / 1e4;
const percent = (value) => `${Math.round(100 * value)} %`;

function paint(parent, tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

const KEYS = "Arrow keys move a point, with Shift further; Insert puts one after it, Delete takes it away.";

class PlaceEditor extends Screen {
  constructor(root) {
    super();
    Object.assign(this, { told: "", root, places: [], chosen: -1, past: [], drawing: null, drag: null, high: (WIDE * 9) / 16 });
    this.bar = put(root, "div", "bar");
    this.buttons = {
      zone: this.button(this.bar, "New zone", (event) => this.begin("zone", event.detail === 0)),
      line: this.button(this.bar, "New line", (event) => this.begin("line", event.detail === 0)),
      finish: this.button(this.bar, "Finish", () => this.finish()),
      undo: this.button(this.bar, "Undo", () => this.undo()),
      propose: this.button(this.bar, "Use the proposal", () => this.propose()),
    };
    this.tracksButton = this.button(this.bar, "Tracks", () => this.showTracks(!this.trails));
    this.said = put(this.bar, "span", "said");
    this.said.setAttribute("role", "status");
    const body = put(root, "div", "body");
    this.stage = put(body, "div", "stage");
    this.canvas = put(this.stage, "canvas");
    this.tracks = put(this.stage, "canvas", "tracks");
    for (const canvas of [this.canvas, this.tracks]) canvas.setAttribute("aria-hidden", true); // the group is told
    this.state = put(this.stage, "span", "state");
    this.svg = paint(this.stage, "svg", { role: "group" });
    const side = put(body, "div", "side");
    this.list = put(side, "div", "list");
    this.panel = put(side, "div", "panel");
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => this.release());
    this.svg.addEventListener("dblclick", () => this.drawing && this.finish());
    root.addEventListener("keydown", (event) => this.type(event));
  }

  button(parent, text, act, kind = "") {
    const made = put(parent, "button", kind, text);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }

  show(data) {
    this.data = data;
    if (data.id !== this.id) {
      Object.assign(this, { id: data.id, places: structuredClone(data.places), chosen: -1, past: [], drawing: null, told: "" });
    }
    this.svg.setAttribute("aria-label", data.label);
    this.follow(data.url, (bitmap) => this.draw(bitmap), (state) => (this.state.textContent = data.words[state]));
    if (this.trails?.camera !== data.camera && this.wantsTracks !== false) this.showTracks(true);
    this.render();
  }

  stop() {
    super.stop();
    this.trails?.close();
    this.trails = null;
  }

  showTracks(wanted) {
    this.trails?.close();
    this.wantsTracks = wanted;
    this.tracks.hidden = !wanted;
    const tell = (count) => (this.tracks.dataset.count = count);
    this.trails = wanted ? new Trails(this.tracks, this.data.camera, tell) : null;
    this.tracksButton.setAttribute("aria-pressed", wanted);
  }

  // What is proposed for a camera that was turned, instead of what it is proposed for.
  propose() {
    this.change(() => {
      for (const place of this.places) place.points = this.proposed(place)?.points ?? place.points;
    });
    this.tell("The proposal is taken; Undo takes it back.");
  }

  proposed({ kind, name }) {
    return this.data.proposed.find((place) => place.kind === kind && place.name === name);
  }

  tell(text) {
    this.told = text;
    this.said.textContent = text;
  }

  draw(bitmap) {
    const { width, height } = bitmap;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.high = (WIDE * height) / width;
      this.render();
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
  }

  // -- changes: each can be taken back, and is told to the page

  change(act) {
    this.past.push(structuredClone(this.places));
    act();
    this.changed();
  }

  changed() {
    this.render();
    this.send({ id: this.id, places: this.places });
  }

  undo() {
    if (this.drawing) this.drawing.points.pop();
    else if (this.past.length) {
      this.places = this.past.pop();
      this.chosen = Math.min(this.chosen, this.places.length - 1);
      this.tell("One step back.");
      return this.changed();
    }
    this.render();
  }

  freeName(kind) {
    const taken = new Set(this.places.filter((place) => place.kind === kind).map((place) => place.name));
    let number = 1;
    while (taken.has(`${kind}-${number}`)) number++;
    return `${kind}-${number}`;
  }

  begin(kind, byKeyboard) {
    const place = { kind, name: this.freeName(kind), points: [], classes: null, loiter_s: null, max_occupancy: null };
    this.drawing = place;
    this.chosen = -1;
    if (byKeyboard) {
      place.points = kind === "zone" ? [[0.35, 0.4], [0.65, 0.4], [0.65, 0.8], [0.35, 0.8]] : [[0.3, 0.6], [0.7, 0.6]];
      this.finish();
      this.focus(0);
      return this.tell(`${place.name} lies in the middle, with ${place.points.length} points. ${KEYS}`);
    }
    this.tell("");
    this.render();
  }

  finish() {
    const place = this.drawing;
    if (!place) return;
    // The second press of a double click lies on the first.
    place.points = place.points.filter((point, at, all) => !at || this.distance(point, all[at - 1]) > 4);
    const least = place.kind === "zone" ? 3 : 2;
    if (place.points.length < least) return this.tell(`${place.name} needs ${least} points at least.`);
    this.drawing = null;
    this.change(() => (this.chosen = this.places.push(place) - 1));
    this.tell(`${place.name} is drawn, with ${place.points.length} points.`);
  }

  focus(point) {
    this.svg.querySelector(`[data-point="${point}"]`)?.focus();
  }

  // -- pointer and keyboard

  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [within(point.x / WIDE), within(point.y / this.high)];
  }

  distance(a, b) {
    return Math.hypot((a[0] - b[0]) * WIDE, (a[1] - b[1]) * this.high);
  }

  press(event) {
    if (this.data.fixed || event.button) return;
    this.told = "";
    const point = this.at(event), { place, point: handle, between } = event.target.dataset;
    if (this.drawing) {
      const { kind, points } = this.drawing, near = (NEAR_PX * WIDE) / this.svg.clientWidth;
      if (kind === "zone" && points.length > 2 && this.distance(point, points[0]) < near) return this.finish();
      points.push(point);
      return this.render();
    }
    if (place !== undefined) this.chosen = Number(place);
    else if (handle === undefined && between === undefined) this.chosen = -1;
    const before = structuredClone(this.places), chosen = this.places[this.chosen];
    if (between !== undefined) chosen.points.splice(Number(between) + 1, 0, point);
    if (chosen) {
      const one = handle ?? (between === undefined ? undefined : Number(between) + 1);
      this.drag = { before, start: point, one: one === undefined ? null : Number(one), points: structuredClone(chosen.points) };
      this.drag.moved = between !== undefined;
      this.svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    }
    this.render();
  }

  move(event) {
    if (!this.drag) return;
    const point = this.at(event), { start, one, points } = this.drag;
    this.drag.moved ||= this.distance(point, start) > 2;
    if (!this.drag.moved) return;
    const shift = [point[0] - start[0], point[1] - start[1]];
    this.places[this.chosen].points = points.map(([x, y], at) =>
      one === null || one === at ? [within(x + shift[0]), within(y + shift[1])] : [x, y],
    );
    this.render();
  }

  release() {
    const drag = this.drag;
    this.drag = null;
    if (!drag?.moved) return;
    this.past.push(drag.before);
    this.changed();
  }

  type(event) {
    const place = this.places[this.chosen], handle = event.target.dataset?.point;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const least = place?.kind === "zone" ? 3 : 2;
    if (event.target.matches("input")) return;
    if (this.drawing && event.key === "Enter" && !event.target.matches("button")) this.finish();
    else if (this.drawing && event.key === "Escape") {
      this.drawing = null;
      this.tell("What was begun is dropped.");
    } else if ((event.ctrlKey || event.metaKey) && event.key === "z") this.undo();
    else if (handle !== undefined && ways[event.key]) {
      const [x, y] = ways[event.key], step = event.shiftKey ? 8 * STEP : STEP, point = place.points[handle];
      this.change(() => (place.points[handle] = [within(point[0] + x * step), within(point[1] + y * step)]));
      this.tell(`Point ${Number(handle) + 1} is at ${place.points[handle].map(percent).join(" and ")}`);
    } else if (handle !== undefined && ["Delete", "Backspace"].includes(event.key)) this.takeAway(place, Number(handle), least);
    else if (handle !== undefined && ["Insert", "+"].includes(event.key)) this.putAfter(place, Number(handle));
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.render();
  }

  takeAway(place, point, least) {
    if (place.points.length <= least) return this.tell(`A ${place.kind} has ${least} points at least.`);
    this.change(() => place.points.splice(point, 1));
    this.focus(Math.min(point, place.points.length - 1));
    this.tell(`Point ${point + 1} is taken away; ${place.points.length} are left.`);
  }

  // Halfway to the next one; after a line's last point, as far again.
  putAfter(place, point) {
    const all = place.points, last = place.kind === "line" && point === all.length - 1;
    const from = all[point], to = last ? all[point - 1] : all[(point + 1) % all.length], share = last ? -0.5 : 0.5;
    const made = [0, 1].map((axis) => within(from[axis] + share * (to[axis] - from[axis])));
    this.change(() => all.splice(point + 1, 0, made));
    this.focus(point + 1);
    this.tell(`Point ${point + 2} is put at ${made.map(percent).join(" and ")}; there are ${all.length} now.`);
  }

  // -- what is seen

  render() {
    const { data, high, drawing, svg } = this, root = this.root.getRootNode();
    const focused = root.activeElement?.dataset?.point;
    const points = [...this.places.flatMap((place) => place.points), [-0.02, -0.02], [1.02, 1.02]];
    const [left, top] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    if (!this.drag) {
      const size = [right - left, bottom - top];
      svg.setAttribute("viewBox", [left * WIDE, top * high, size[0] * WIDE, size[1] * high].join(" "));
      this.stage.style.aspectRatio = `${size[0] * WIDE} / ${size[1] * high}`;
      const place = { left: -left / size[0], top: -top / size[1], width: 1 / size[0], height: 1 / size[1] };
      for (const canvas of [this.canvas, this.tracks]) {
        for (const [side, share] of Object.entries(place)) canvas.style[side] = `${100 * share}%`;
      }
    }
    this.grow = Math.max(1, 620 / (svg.clientWidth || 620)); // on a phone points are as large as a finger needs
    svg.style.setProperty("--grow", this.grow);
    svg.replaceChildren();
    svg.classList.toggle("drawing", Boolean(drawing));
    for (const { points, added } of data.ways) this.paintOutline(points, `played ${added ? "added" : "gone"}`, false);
    for (const { kind, points } of data.proposed) this.paintOutline(points, "proposed", kind === "zone");
    this.places.forEach((place, at) => this.paintPlace(place, at));
    if (drawing) this.paintPlace(drawing, -1);
    if (focused !== undefined) svg.querySelector(`[data-point="${focused}"]`)?.focus();
    for (const button of Object.values(this.buttons)) button.hidden = data.fixed;
    this.buttons.finish.hidden = !drawing;
    this.buttons.propose.hidden = data.fixed || !data.proposed.length;
    this.buttons.undo.disabled = !(this.past.length || drawing?.points.length);
    this.said.textContent = drawing ? `Press on the picture for each point of ${drawing.name}; Finish or Enter ends it, Esc drops it.` : this.told;
    this.listPlaces();
    this.fillPanel();
  }

  paintOutline(points, kind, closed) {
    const px = points.map(([x, y]) => `${x * WIDE},${y * this.high}`).join(" ");
    paint(this.svg, closed ? "polygon" : "polyline", { points: px, class: kind });
  }

  paintPlace(place, at) {
    const px = place.points.map(([x, y]) => [x * WIDE, y * this.high]), chosen = at === this.chosen || at < 0;
    if (!px.length) return;
    const group = paint(this.svg, "g", { class: `${place.kind}${chosen ? " chosen" : ""}` });
    const closed = place.kind === "zone" && at >= 0;
    paint(group, closed ? "polygon" : "polyline", { points: px.map((point) => point.join(",")).join(" "), "data-place": at, class: "shape" });
    if (place.kind === "line" && px.length > 1) this.paintForward(group, px);
    const label = paint(group, "text", { x: px[0][0] + 8 * this.grow, y: px[0][1] - 10 * this.grow, "data-place": at });
    label.textContent = place.name;
    if (!chosen || this.data.fixed) return;
    px.forEach(([x, y], number) => {
      const next = px[number + 1] || (closed ? px[0] : null);
      if (next && at >= 0) {
        paint(group, "circle", { class: "between", r: 5 * this.grow, cx: (x + next[0]) / 2, cy: (y + next[1]) / 2, "data-between": number });
      }
    });
    px.forEach(([x, y], number) => {
      const where = place.points[number].map(percent).join(" and ");
      const name = `Point ${number + 1} of ${place.name}, at ${where}. ${KEYS}`;
      const handle = { class: "handle", r: 8 * this.grow, cx: x, cy: y, tabindex: 0, role: "button", "aria-label": name };
      paint(group, "circle", at < 0 ? { class: "handle", r: 6, cx: x, cy: y } : { ...handle, "data-point": number });
    });
  }

  // Forward is to the left of who goes from the first point to the last.
  paintForward(group, px) {
    const middle = Math.floor((px.length - 1) / 2), [a, b] = [px[middle], px[middle + 1]];
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1, x = (a[0] + b[0]) / 2, y = (a[1] + b[1]) / 2;
    const along = [(b[0] - a[0]) / length, (b[1] - a[1]) / length], left = [along[1], -along[0]];
    const tip = [x + 60 * left[0], y + 60 * left[1]];
    const wing = (side) => [0, 1].map((axis) => tip[axis] - 16 * left[axis] + side * 10 * along[axis]).join(",");
    paint(group, "path", { class: "forward", d: `M${x},${y} L${tip} M${wing(1)} L${tip} L${wing(-1)}` });
    const beyond = [0, 1].map((axis) => tip[axis] + 16 * left[axis]), middled = { "text-anchor": "middle", "dominant-baseline": "central" };
    paint(group, "text", { class: "way", x: beyond[0], y: beyond[1], ...middled }).textContent = "in";
  }

  listPlaces() {
    const texts = this.places.map((place) => `${place.kind === "zone" ? "Zone" : "Line"} ${place.name}`);
    if (this.list.dataset.texts !== JSON.stringify(texts)) {
      this.list.dataset.texts = JSON.stringify(texts);
      this.list.replaceChildren();
      texts.forEach((text, at) =>
        this.button(this.list, text, () => {
          this.chosen = at;
          this.render();
        }, "place"),
      );
      if (!texts.length) put(this.list, "p", "none", "There is no line or zone yet.");
    }
    this.list.querySelectorAll("button").forEach((button, at) => button.setAttribute("aria-pressed", at === this.chosen));
  }

  fillPanel() {
    const place = this.places[this.chosen], shown = JSON.stringify([this.id, this.chosen, place && { ...place, points: 0 }]);
    if (this.panel.dataset.shown === shown) return;
    this.panel.dataset.shown = shown;
    this.panel.replaceChildren();
    if (!place) return;
    const field = (label, key, type, text, read) => {
      const input = put(put(this.panel, "label", "", label), "input");
      Object.assign(input, { type, value: text, disabled: this.data.fixed, name: key });
      if (type === "number") Object.assign(input, { min: 0, step: "any", placeholder: "none" });
      input.addEventListener("change", () => {
        const problem = key === "name" && this.nameProblem(input.value.trim(), place);
        input.setCustomValidity(problem || "");
        if (input.reportValidity()) this.change(() => (place[key] = read(input.value.trim())));
      });
    };
    const numeral = (text) => (text === "" ? null : Number(text));
    field("Name", "name", "text", place.name, (text) => text);
    if (place.kind === "zone") {
      field("Loitering after, seconds", "loiter_s", "number", place.loiter_s ?? "", numeral);
      field("At most so many at once", "max_occupancy", "number", place.max_occupancy ?? "", numeral);
    }
    const names = (text) => text.split(",").map((name) => name.trim()).filter(Boolean);
    field("Classes, with commas; none: those counted", "classes", "text", (place.classes || []).join(", "), (text) => (text ? names(text) : null));
    if (this.data.fixed) return;
    if (place.kind === "line") this.button(this.panel, "Swap in and out", () => this.change(() => place.points.reverse()));
    this.button(this.panel, `Delete ${place.kind}`, () =>
      this.change(() => {
        this.places.splice(this.chosen, 1);
        this.chosen = -1;
      }),
    );
  }

  nameProblem(name, place) {
    if (!name) return "Give it a name.";
    const taken = this.places.some((other) => other !== place && other.kind === place.kind && other.name === name);
    return taken ? `There is another ${place.kind} of that name.` : "";
  }
}

export default function (component) {
  return showOn(PlaceEditor, ".editor", component, (editor) => {
    editor.send = (draft) => component.setStateValue("draft", structuredClone(draft));
  });
}
