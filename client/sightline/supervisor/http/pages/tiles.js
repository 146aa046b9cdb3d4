// Many cameras in one stream, cut into a tile for each: a browser opens few connections to one address.
const WIDTH = 1280, HEIGHT = 720;

class Wall extends Screen {
  open = null; // what a press on a tile does; null: there is nothing to press

  constructor(root) {
    super();
    Object.assign(this, { root, tiles: new Map(), told: put(root, "p", "told") });
    this.told.setAttribute("role", "status");
  }

  show(data) {
    const names = data.tiles.map((tile) => tile.name);
    this.side = Math.ceil(Math.sqrt(names.length)) || 1;
    this.root.style.setProperty("--least", `${data.least_px}px`);
    this.root.style.setProperty("--side", this.side);
    this.root.classList.toggle("wall", data.wall);
    for (const [name, tile] of this.tiles) {
      if (!names.includes(name)) {
        tile.button.remove();
        this.tiles.delete(name);
      }
    }
    data.tiles.forEach((given, at) => {
      const tile = this.tiles.get(given.name) || this.make(given.name);
      tile.at = at;
      tile.button.style.order = at;
      tile.button.className = `tile ${given.tone}`;
      tile.button.setAttribute("aria-label", `${given.name}: ${given.word}. ${given.why} ${given.note}`);
      tile.word.textContent = given.tone === "good" ? "" : given.word;
      tile.why.textContent = given.tone === "good" ? "" : given.why;
      tile.note.textContent = given.note;
    });
    this.watch(names, data);
  }

  make(name) {
    const button = put(this.root, this.open ? "button" : "div", "tile");
    Object.assign(button, this.open ? { type: "button" } : { role: "img" });
    const canvas = put(button, "canvas");
    const bar = put(button, "span", "bar");
    put(bar, "i", "dot");
    put(bar, "b", "", name);
    const problem = put(button, "span", "problem");
    const tile = { button, canvas, note: put(bar, "small") };
    Object.assign(tile, { word: put(problem, "b"), why: put(problem, "span") });
    button.addEventListener("click", () => this.open?.(name));
    this.tiles.set(name, tile);
    return tile;
  }

  watch(names, data) {
    // Filled up with the last one, the picture has as many rows as columns, and every place is 16:9.
    const least = names.length ? this.side * (this.side - 1) + 1 : 0;
    const asked = [...names];
    while (asked.length < least) asked.push(names[names.length - 1]);
    const query = asked.map((name) => `camera=${encodeURIComponent(name)}`).join("&");
    const url = `/live/grid.mjpg?${query}&overlay=${data.overlay ? 1 : 0}`;
    if (!names.length) this.told.textContent = "";
    this.follow(names.length ? url : "", (bitmap) => this.draw(bitmap), (state, told = "") => {
      this.root.dataset.state = state;
      this.told.textContent = told;
    });
  }

  draw(bitmap) {
    const wide = Math.floor(WIDTH / this.side / 2) * 2, high = Math.floor(HEIGHT / this.side / 2) * 2;
    for (const { canvas, at } of this.tiles.values()) {
      if (canvas.width !== wide) Object.assign(canvas, { width: wide, height: high });
      const left = (at % this.side) * wide, top = Math.floor(at / this.side) * high;
      canvas.getContext("2d").drawImage(bitmap, left, top, wide, high, 0, 0, wide, high);
    }
  }
}

