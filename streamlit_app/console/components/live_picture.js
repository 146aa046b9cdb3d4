// One camera, large: its newest picture and how old that is.
class Single extends Screen {
  constructor(root) {
    super();
    this.canvas = root.querySelector("canvas");
    this.age = root.querySelector(".age");
    this.root = root;
  }

  show(data) {
    this.data = data;
    this.canvas.setAttribute("aria-label", data.label);
    this.follow(
      data.url,
      (bitmap, captured) => this.draw(bitmap, captured),
      (state, told) => {
        this.root.dataset.state = state;
        this.age.textContent = told || this.data.words[state];
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

export default function (component) {
  return showOn(Single, ".single", component);
}
