// Many cameras in one stream, cut into a tile for each: a browser opens few connections to one address.
// Only tiles in view are asked for: the server draws no others, and those have more of the picture.
const WIDTH = 1280, HEIGHT = 720;
const CALM_MS = 250; // after the last tile came into view or left it, while one scrolls
const WAITS = "waiting for a picture \u2026";

class Wall extends Screen {
  open = null; // what a press on a tile does; null: there is nothing to press
  seen = new Set(); // the tiles in view

  constructor(root) {
    super();
    Object.assign(this, { root, tiles: new Map(), told: put(root, "p", "told"), news: put(root, "p", "news") });
    for (const part of [this.told, this.news]) part.setAttribute("role", "status");
    this.views = new IntersectionObserver((entries) => this.look(entries));
  }

  show(data) {
    const names = data.tiles.map((tile) => tile.name);
    this.overlay = data.overlay;
    this.root.style.setProperty("--least", `${data.least_px}px`);
    this.root.style.setProperty("--side", Math.ceil(Math.sqrt(names.length)) || 1);
    this.root.classList.toggle("wall", data.wall);
    for (const [name, tile] of this.tiles) {
      if (!names.includes(name)) {
        this.views.unobserve(tile.button);
        this.seen.delete(tile.button);
        tile.button.remove();
        this.tiles.delete(name);
      }
    }
    const news = [];
    data.tiles.forEach((given, at) => {
      const tile = this.tiles.get(given.name) || this.make(given.name);
      if (tile.state && tile.state !== given.word) news.push(`${given.name}: ${given.word}.`);
      tile.state = given.word;
      tile.button.style.order = at;
      tile.button.className = `tile ${given.tone}`;
      const told = [`${given.name}: ${given.word}.`, given.why, given.note].filter(Boolean).join(" ");
      tile.button.setAttribute("aria-label", told);
      tile.word.textContent = given.tone === "good" ? "" : given.word;
      tile.why.textContent = given.tone === "good" ? "" : given.why;
      tile.note.textContent = given.note;
    });
    if (news.length) this.news.textContent = news.join(" "); // for screen readers
    this.watch();
  }

  // Tiles have come into view or left it: at first at once, then when one no longer scrolls.
  look(entries) {
    for (const { target, isIntersecting } of entries) this.seen[isIntersecting ? "add" : "delete"](target);
    clearTimeout(this.calm);
    if (this.key) this.calm = setTimeout(() => this.watch(), CALM_MS);
    else this.watch();
  }

  make(name) {
    const button = put(this.root, this.open ? "button" : "div", "tile");
    Object.assign(button, this.open ? { type: "button" } : { role: "img" });
    const canvas = put(button, "canvas");
    put(button, "span", "waits", WAITS).ariaHidden = "true"; // its label has the state
    const bar = put(button, "span", "bar");
    put(bar, "i", "dot");
    put(bar, "b", "", name);
    const problem = put(button, "span", "problem");
    const tile = { button, canvas, note: put(bar, "small") };
    Object.assign(tile, { word: put(problem, "b"), why: put(problem, "span") });
    button.addEventListener("click", () => this.open?.(name));
    this.tiles.set(name, tile);
    this.views.observe(button);
    return tile;
  }

  watch() {
    const inView = [...this.tiles].filter(([, { button }]) => this.seen.has(button));
    const names = inView.sort(([, a], [, b]) => a.button.style.order - b.button.style.order).map(([name]) => name);
    const side = Math.ceil(Math.sqrt(names.length)) || 1;
    // Filled up with the last one, the picture has as many rows as columns, and every place is 16:9.
    const least = names.length ? side * (side - 1) + 1 : 0;
    const asked = [...names];
    while (asked.length < least) asked.push(names[names.length - 1]);
    const query = asked.map((name) => `camera=${encodeURIComponent(name)}`).join("&");
    const url = `/live/grid.mjpg?${query}&overlay=${this.overlay ? 1 : 0}`;
    if (!names.length) this.told.textContent = "";
    this.follow(names.length ? url : "", (bitmap, _, dark) => this.draw(bitmap, names, side, dark), (state, told = "") => {
      this.root.dataset.state = state;
      this.told.textContent = told;
    });
  }

  draw(bitmap, names, side, dark) {
    const wide = Math.floor(WIDTH / side / 2) * 2, high = Math.floor(HEIGHT / side / 2) * 2;
    names.forEach((name, at) => {
      const { button, canvas } = this.tiles.get(name) ?? {};
      if (!canvas) return;
      if (dark.includes(at)) delete button.dataset.drawn;
      else button.dataset.drawn = "";
      if (canvas.width !== wide) Object.assign(canvas, { width: wide, height: high });
      const left = (at % side) * wide, top = Math.floor(at / side) * high;
      canvas.getContext("2d").drawImage(bitmap, left, top, wide, high, 0, 0, wide, high);
    });
  }

  stop() {
    clearTimeout(this.calm);
    super.stop();
  }
}

