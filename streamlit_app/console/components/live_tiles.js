// The cameras' tiles on a page, of which each leads to its camera; or over the whole window, as a wall.
class LiveTiles extends Wall {
  constructor(root) {
    super(root);
    this.leave = root.querySelector(".leave");
    this.leave.addEventListener("click", () => this.open(""));
    const onKey = (event) => {
      if (!root.isConnected) document.removeEventListener("keydown", onKey);
      else if (event.key === "Escape" && !this.leave.hidden) this.open("");
    };
    document.addEventListener("keydown", onKey);
  }

  show(data) {
    super.show(data);
    this.leave.hidden = !data.wall;
  }
}

export default function (component) {
  return showOn(LiveTiles, ".tiles", component, (wall) => {
    wall.open = (name) => component.setTriggerValue("open", name);
  });
}
