// Where tracked objects have been lately, drawn faintly over a camera's picture.
const TRAIL_MS = 90000, MAX_TRAILS = 120, MAX_STEPS = 240, LEAST_STEP = 0.004, AGAIN_MS = 3000, POLICY = 1008;

class Trails {
  constructor(canvas, camera, onCount) {
    Object.assign(this, { canvas, camera, onCount, trails: new Map(), now: new Set(), count: -1 });
    this.onVisibility = () => (document.hidden ? this.socket?.close() : this.open());
    document.addEventListener("visibilitychange", this.onVisibility);
    this.open();
  }

  open() {
    if (this.closed || document.hidden || this.socket?.readyState <= 1) return;
    const url = new URL(`/ws/detections?camera=${encodeURIComponent(this.camera)}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.addEventListener("message", ({ data }) => this.take(JSON.parse(data).objects));
    this.socket.addEventListener("close", ({ code }) => {
      this.take([]);
      if (code !== POLICY) setTimeout(() => this.open(), AGAIN_MS);
    });
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.socket?.close();
  }

  take(objects) {
    const time = performance.now();
    this.now = new Set(objects.filter((object) => object.confirmed).map((object) => object.id));
    for (const { id, box, confirmed } of objects) {
      if (!confirmed) continue;
      const foot = [(box[0] + box[2]) / 2, box[3]], trail = this.trails.get(id) || { steps: [] };
      this.trails.delete(id); // the one that was seen last comes last
      this.trails.set(id, trail);
      Object.assign(trail, { foot, seen: time });
      const last = trail.steps.at(-1);
      if (!last || Math.hypot(foot[0] - last[0], foot[1] - last[1]) > LEAST_STEP) trail.steps.push(foot);
      if (trail.steps.length > MAX_STEPS) trail.steps.shift();
    }
    for (const [id, trail] of this.trails) {
      if (time - trail.seen > TRAIL_MS || this.trails.size > MAX_TRAILS) this.trails.delete(id);
    }
    this.draw(time);
    if (this.now.size !== this.count) this.onCount((this.count = this.now.size));
  }

  draw(time) {
    const { canvas } = this, wide = Math.round(canvas.clientWidth * devicePixelRatio) || 1;
    const high = Math.round(canvas.clientHeight * devicePixelRatio) || 1, context = canvas.getContext("2d");
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    context.clearRect(0, 0, wide, high);
    context.lineWidth = Math.max(2, wide / 320);
    context.lineJoin = context.lineCap = "round";
    for (const [id, trail] of this.trails) {
      const fresh = 1 - (time - trail.seen) / TRAIL_MS;
      context.strokeStyle = context.fillStyle = `hsl(${(id * 47) % 360} 85% 65%)`;
      context.globalAlpha = 0.15 + 0.4 * fresh;
      context.beginPath();
      for (const [x, y] of [...trail.steps, trail.foot]) context.lineTo(x * wide, y * high);
      context.stroke();
      if (!this.now.has(id)) continue;
      context.globalAlpha = 0.9;
      context.beginPath();
      context.arc(trail.foot[0] * wide, trail.foot[1] * high, Math.max(4, wide / 160), 0, 7);
      context.fill();
    }
  }
}
