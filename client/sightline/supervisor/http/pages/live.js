"use strict";

// The page at which a camera is watched: its own video by WebRTC, and over it the boxes of /ws/detections.
//
// Which boxes belong to which frame is told by how the frame's coded picture ends: messages have that as
// `coded_end`, and a worker (this file as well) sees it in the coded frames on their way to the decoder. From
// one such pair follows how the video's RTP time stamps and the messages' `media_s` belong together, whatever
// clocks say. The video is held back until its boxes are here.

const TICKS_PER_S = 90000; // of RTP time stamps of video
const END_BYTES = 32; // of `coded_end`
const KEPT = 300; // frames and messages that may still find each other
const MAX_GAP_S = 1.0; // between messages of whose boxes those between are made
const LATE_S = 0.05; // boxes that are older than the frame by more are not drawn
const MARGIN_S = 0.05;
const CONNECT_MS = 10000;
const AGAIN_MS = 3000;
const STILL_MS = 5000; // without a frame the video has ended, whatever the connection says of itself
const POLICY = 1008; // why a WebSocket is closed: the sign-in has ended

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function watchCodedFrames(event) {
  const { readable, writable } = event.transformer;
  const tell = new TransformStream({
    transform(frame, controller) {
      const length = Math.min(END_BYTES, frame.data.byteLength);
      const end = hex(new Uint8Array(frame.data, frame.data.byteLength - length, length));
      postMessage({ rtp: frame.getMetadata().rtpTimestamp ?? frame.timestamp, end });
      controller.enqueue(frame);
    },
  });
  readable.pipeThrough(tell).pipeTo(writable);
}

// Where frames and messages lie on one line of time.
class Timeline {
  constructor() {
    this.messages = []; // by media_s
    this.offset = null; // RTP time stamp less media_s, in ticks; null: not known yet
    this.delayS = 0; // that the video needs, so that its boxes are here
    this.rtpByEnd = new Map(); // with when they came
    this.messageByEnd = new Map();
    this.candidate = null;
    this.lags = []; // seconds that messages came after their frames, the newest last
  }

  addFrame({ rtp, end }) {
    this.keep(this.rtpByEnd, end, { rtp, cameMs: performance.now() });
    this.match(end);
  }

  addMessage(message) {
    const newest = this.messages.at(-1);
    if (newest && message.media_s <= newest.media_s) { // the stream has begun anew
      this.messages = [];
      this.offset = this.candidate = null;
      this.messageByEnd.clear();
    }
    this.messages.push(message);
    if (this.messages.length > KEPT) this.messages.shift();
    if (!message.coded_end) return;
    this.keep(this.messageByEnd, message.coded_end, { media_s: message.media_s, cameMs: performance.now() });
    this.match(message.coded_end);
  }

  keep(map, end, value) {
    map.set(end, map.has(end) ? null : value); // what two end with tells nothing
    if (map.size > KEPT) map.delete(map.keys().next().value);
  }

  match(end) {
    const frame = this.rtpByEnd.get(end);
    const message = this.messageByEnd.get(end);
    if (!frame || !message) return;
    const offset = (frame.rtp - Math.round(message.media_s * TICKS_PER_S)) | 0;
    const near = (other) => other !== null && Math.abs((offset - other) | 0) <= 2;
    if (near(this.candidate)) this.offset = offset; // two in a row agree
    else if (!near(this.offset)) this.offset = null;
    this.candidate = offset;
    this.lags.push((message.cameMs - frame.cameMs) / 1000);
    if (this.lags.length > 30) this.lags.shift();
    const times = this.messages.slice(-30).map((one) => one.media_s);
    const gaps = times.slice(1).map((time, index) => time - times[index]);
    this.delayS = Math.max(0, ...this.lags) + Math.min(MAX_GAP_S, Math.max(0, ...gaps)) + MARGIN_S;
  }

  mediaOf(rtp) {
    const newest = this.messages.at(-1);
    if (this.offset === null || !newest) return null;
    const ticks = (rtp - this.offset - Math.round(newest.media_s * TICKS_PER_S)) | 0;
    return newest.media_s + ticks / TICKS_PER_S;
  }

  // The objects at a time, those between two messages moved along; null: they are not known.
  at(mediaS) {
    const after = this.messages.findIndex((message) => message.media_s >= mediaS);
    if (after < 0) {
      const newest = this.messages.at(-1);
      return mediaS - newest.media_s <= LATE_S ? newest.objects : null;
    }
    const later = this.messages[after];
    const earlier = this.messages[after - 1];
    if (!earlier) return later.media_s - mediaS <= LATE_S ? later.objects : null;
    const gapS = later.media_s - earlier.media_s;
    if (gapS > MAX_GAP_S) {
      const near = [earlier, later].find((one) => Math.abs(one.media_s - mediaS) <= LATE_S);
      return near ? near.objects : null;
    }
    const share = (mediaS - earlier.media_s) / gapS;
    const before = new Map(earlier.objects.map((object) => [object.id, object]));
    const objects = [];
    for (const object of later.objects) {
      const old = before.get(object.id);
      before.delete(object.id);
      if (old) {
        const box = object.box.map((edge, index) => old.box[index] + share * (edge - old.box[index]));
        objects.push({ ...object, box });
      } else if (share >= 0.5) objects.push(object);
    }
    if (share < 0.5) objects.push(...before.values());
    return objects;
  }
}

class LivePage {
  constructor() {
    for (const id of ["camera", "video", "overlay", "pictures", "text", "places"]) {
      this[id] = document.getElementById(id);
    }
    this.path = location.pathname;
    this.name = decodeURIComponent(this.path.split("/").pop());
    this.camera.textContent = this.name;
    this.video.ariaLabel = this.pictures.alt = `Live picture of camera ${this.name}`;
    this.signIn = `/auth/sign-in?next=${encodeURIComponent(this.path)}`;
    this.player = new URLSearchParams(location.search).get("player");
  }

  async start() {
    const answer = await fetch(`/api/v1/cameras/${encodeURIComponent(this.name)}/video`);
    if (answer.status === 401) {
      location.replace(this.signIn);
      return;
    }
    const given = await answer.json();
    if (!answer.ok) {
      this.text.textContent = given.error;
    } else if (given.whep && !this.player && window.RTCPeerConnection) {
      this.openDetections();
      await this.connect(given).catch(() => this.again(given));
    } else if (given.hls && this.player === "hls") {
      this.video.addEventListener("error", () => this.showPictures("this browser cannot play the stream"));
      this.video.src = given.hls;
    } else {
      this.showPictures(given.problem);
    }
  }

  // Multipart JPEG, whose boxes are drawn by the server.
  showPictures(why) {
    this.end();
    this.video.hidden = this.overlay.hidden = true;
    this.pictures.hidden = false;
    this.pictures.src = `${this.path}.mjpg`;
    this.text.textContent = why ? `Pictures, not video: ${why}` : "";
  }

  end() {
    this.ended = true;
    this.leave();
    if (this.socket) this.socket.close();
  }

  leave() {
    if (this.session) fetch(this.session, { method: "DELETE", keepalive: true }).catch(() => {});
    if (this.connection) this.connection.close();
    if (this.worker) this.worker.terminate();
    this.session = this.connection = this.worker = null;
  }

  async connect(given) {
    const servers = given.ice_servers.map(({ urls, username, credential }) =>
      username === null ? { urls } : { urls, username, credential });
    const connection = new RTCPeerConnection({ iceServers: servers });
    this.connection = connection;
    this.timeline = new Timeline();
    const { receiver } = connection.addTransceiver("video", { direction: "recvonly" });
    this.receiver = receiver;
    if (window.RTCRtpScriptTransform) {
      this.worker = new Worker("/live/pages/live.js");
      this.worker.onmessage = ({ data }) => this.timeline.addFrame(data);
      receiver.transform = new RTCRtpScriptTransform(this.worker);
    }
    this.video.srcObject = new MediaStream([receiver.track]);
    connection.addEventListener("connectionstatechange", () => {
      if (connection === this.connection && connection.connectionState === "failed") this.again(given);
    });
    await connection.setLocalDescription();
    await gathered(connection);
    const headers = { "Content-Type": "application/sdp" };
    const body = connection.localDescription.sdp;
    const answer = await fetch(given.whep, { method: "POST", headers, body });
    if (connection !== this.connection) return;
    if (!answer.ok) {
      this.showPictures((await answer.json()).error);
      return;
    }
    this.session = answer.headers.get("Location");
    await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    this.showFrames(connection, given);
  }

  // Draw over each frame as it is shown; without any for a while, go on without video.
  showFrames(connection, given) {
    const giveUp = setTimeout(() => {
      const waits = document.hidden && connection.connectionState === "connected"; // nothing is shown there
      if (connection === this.connection && !waits) {
        this.showPictures("the media server is not reached from here");
      }
    }, CONNECT_MS);
    let still = null;
    const standsStill = () => {
      if (connection !== this.connection) return;
      if (document.hidden) still = setTimeout(standsStill, STILL_MS); // nothing is shown there
      else this.again(given);
    };
    const draw = (_, frame) => {
      clearTimeout(giveUp);
      clearTimeout(still);
      if (connection !== this.connection) return;
      still = setTimeout(standsStill, STILL_MS);
      this.drawOver(frame);
      this.video.requestVideoFrameCallback(draw);
    };
    this.video.requestVideoFrameCallback(draw);
  }

  again(given) {
    this.leave();
    this.text.textContent = "The video has ended; it is asked for again.";
    const { overlay } = this;
    overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
    setTimeout(() => {
      if (this.ended) return;
      const said = () => { if (this.pictures.hidden) this.text.textContent = ""; };
      this.connect(given).then(said, () => this.again(given));
    }, AGAIN_MS);
  }

  openDetections() {
    const url = new URL(`/ws/detections?camera=${encodeURIComponent(this.name)}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (this.timeline) this.timeline.addMessage(message);
      this.showPlaces(message);
    });
    this.socket.addEventListener("close", ({ code }) => {
      if (this.ended) return;
      if (code === POLICY) {
        this.end();
        this.video.hidden = this.overlay.hidden = true;
        this.text.textContent = "Your sign-in has ended, or the camera is gone. ";
        this.text.append(Object.assign(document.createElement("a"), { href: this.signIn, textContent: "Sign in" }));
      } else setTimeout(() => this.ended || this.openDetections(), AGAIN_MS);
    });
  }

  showPlaces({ zones, lines }) {
    const inside = Object.entries(zones).map(([name, count]) => `${name}: ${count}`);
    const crossed = Object.entries(lines).map(([name, way]) => `${name}: ${way.forward} in, ${way.backward} out`);
    this.places.textContent = [...inside, ...crossed].join(" · ");
  }

  drawOver(frame) {
    const target = Math.min(4000, Math.ceil(10 * this.timeline.delayS) * 100);
    if (target && target !== this.receiver.jitterBufferTarget) this.receiver.jitterBufferTarget = target;
    const mediaS = frame.rtpTimestamp === undefined ? null : this.timeline.mediaOf(frame.rtpTimestamp);
    const objects = mediaS === null ? null : this.timeline.at(mediaS);
    const { overlay } = this;
    const [width, height] = [frame.width, frame.height];
    if (overlay.width !== width || overlay.height !== height) Object.assign(overlay, { width, height });
    const context = overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.lineWidth = Math.max(2, width / 400);
    context.font = `${Math.max(12, width / 60)}px system-ui, sans-serif`;
    for (const object of objects ?? []) {
      const [left, top, right, bottom] = object.box.map((edge, index) => edge * (index % 2 ? height : width));
      context.strokeStyle = context.fillStyle = `hsl(${(object.id * 47) % 360} 90% 60%)`;
      context.setLineDash(object.confirmed ? [] : [6, 4]);
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillText(`${object.class} ${object.id}`, left, top - context.lineWidth - 1);
    }
    const detail = { media_s: mediaS, frame, objects };
    this.video.dispatchEvent(new CustomEvent("overlay", { detail }));
  }
}

function gathered(connection) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1500); // a relay that does not answer keeps nobody waiting
    const check = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", check);
    check();
  });
}

if (typeof document === "undefined") {
  self.onrtctransform = watchCodedFrames;
} else {
  const page = new LivePage();
  window.addEventListener("pagehide", () => page.end());
  page.start();
}
