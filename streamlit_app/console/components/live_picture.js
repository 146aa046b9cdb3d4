// One camera, large: its newest picture and how old that is.
class Single {
  constructor(root) {
    this.canvas = root.querySelector("canvas");
    this.age = root.querySelector(".age");
    this.root = root;
    this.key = "";
  }

  show(data) {
    this.data = data;
    this.canvas.setAttribute("aria-label", data.label);
    if (data.url === this.key) return;
    this.key = data.url;
    this.watcher?.close();
    this.watcher = new Watcher(
      data.url,
      (bitmap, captured) => this.draw(bitmap, captured),
      (state) => {
        this.root.dataset.state = state;
        this.age.textContent = this.data.words[state];
      },
    );
  }

  draw(bitmap, captured) {
    const { width, height } = bitmap;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    if (captured !== null) {
      const zone = { timeZone: this.data.zone, hour12: false };
      this.age.textContent = new Date(1000 * captured).toLocaleTimeString("en-GB", zone);
    }
  }
}

const singles = new WeakMap();

export default function (component) {
  const root = component.parentElement.querySelector(".single");
  const single = singles.get(root) || new Single(root);
  singles.set(root, single);
  clearTimeout(single.closing);
  single.show(component.data);
  return () => {
    single.closing = setTimeout(() => {
      single.watcher?.close();
      single.key = "";
    }, 500);
  };
}
