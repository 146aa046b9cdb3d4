// A clip that opens at its event, with the tracks drawn over it.
const LEAD_S = 1.5; // it begins so long before the event
const NEAR_S = 0.6; // the tracks of a frame hold for so long, at most
const BOX = 10000;
const COLOURS = ["#3d85d6", "#e08a1e", "#2fa37c", "#c267a8", "#7a6fd0", "#b5a022", "#57a9c9"];

class Player {
  constructor(root) {
    this.root = root;
    this.video = root.querySelector("video");
    this.canvas = root.querySelector("canvas");
    this.note = root.querySelector(".note");
    this.video.addEventListener("error", () => this.sayWhy());
    this.video.addEventListener("loadedmetadata", () => this.seek());
    const follow = (_, frame) => {
      this.draw(frame.mediaTime);
      this.video.requestVideoFrameCallback(follow);
    };
    this.video.requestVideoFrameCallback?.(follow);
  }

  async show(data) {
    this.data = data;
    this.video.setAttribute("aria-label", data.label);
    if (this.key === data.video) return;
    this.key = data.video;
    this.frames = [];
    this.position = this.track = null;
    this.note.textContent = "";
    this.clear(); // what was drawn is of the clip before
    this.video.poster = data.poster;
    this.video.src = data.video;
    const answer = await fetch(data.tracks).catch(() => null);
    const told = answer?.ok ? await answer.json().catch(() => null) : null;
    if (!told || this.key !== data.video) return;
    const event = told.events?.find((item) => data.events.includes(item.key));
    Object.assign(this, { frames: told.frames || [], names: told.classes || [] });
    if (event) Object.assign(this, { position: event.position_s, track: event.track_id });
    this.seek();
  }

  // The browser does not tell a clip that is not there any more from one that it cannot play.
  async sayWhy() {
    const { video, words } = this.data;
    const answer = await fetch(video, { headers: { Range: "bytes=0-0" }, cache: "no-store" }).catch(() => null);
    if (this.key !== video) return;
    const isGone = answer?.status === 404 || answer?.status === 410;
    this.note.textContent = isGone ? words.gone : answer?.ok ? words.broken : words.away;
    answer?.body?.cancel();
  }

  // To the event, once both the file and the place of the event are known.
  seek() {
    if (this.position === null || this.video.readyState < 1) return;
    this.video.currentTime = Math.max(0, this.position - LEAD_S);
    this.root.dataset.event = this.position;
    this.video.play().catch(() => {});
  }

  clear() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.root.dataset.event;
    delete this.root.dataset.boxes;
  }

  draw(time) {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return;
    if (this.canvas.width !== width) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    let low = 0, high = this.frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle][0] <= time + 0.002) low = middle + 1;
      else high = middle;
    }
    const frame = this.frames[low - 1];
    this.root.dataset.boxes = frame && time - frame[0] < NEAR_S ? frame[1].length : 0;
    if (!frame || time - frame[0] >= NEAR_S) return;
    const [, ids, corners, , classes] = frame;
    context.font = `${Math.max(12, Math.round(height / 36))}px sans-serif`;
    ids.forEach((id, at) => {
      const [left, top, right, bottom] = corners.slice(4 * at, 4 * at + 4).map((side) => side / BOX);
      const isIt = id === this.track;
      context.strokeStyle = context.fillStyle = isIt ? "#ff4d4d" : COLOURS[id % COLOURS.length];
      context.lineWidth = Math.max(2, height / (isIt ? 160 : 280));
      context.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
      context.fillText(`${this.names[classes[at]] ?? ""} ${id}`, left * width + 2, Math.max(14, top * height - 5));
    });
  }
}

const players = new WeakMap();

export default function (component) {
  const root = component.parentElement.querySelector(".clip");
  const player = players.get(root) || new Player(root);
  players.set(root, player);
  player.show(component.data);
}
