// Pictures of a multipart stream, read one by one: so it is known when one came, and which one.
const CHANGE_MS = 3000; // from one stream to another one, at most
const SILENT_MS = 12000; // a stream that says nothing for so long is asked for anew
const text = new TextDecoder("latin1");

function joined(left, right) {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

// The end of a part's head in bytes, after its blank line; -1 while it has not come.
function endOfHead(bytes) {
  for (let at = 3; at < bytes.length; at++) {
    if (bytes[at] === 10 && bytes[at - 1] === 13 && bytes[at - 2] === 10 && bytes[at - 3] === 13) return at + 1;
  }
  return -1;
}

async function readParts(url, signal, onPicture) {
  const answer = await fetch(url, { signal, cache: "no-store" });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(told.error || ""), { status: answer.status });
  }
  const reader = answer.body.getReader();
  let bytes = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    bytes = bytes.length ? joined(bytes, value) : value;
    for (;;) {
      const start = endOfHead(bytes);
      if (start < 0) break;
      const head = text.decode(bytes.subarray(0, start));
      const length = /content-length: *(\d+)/i.exec(head);
      if (!length) throw new Error("no length");
      const end = start + Number(length[1]);
      if (bytes.length < end) break;
      const dark = /x-dark: *([\d,]+)/i.exec(head);
      const captured = /x-capture-time: *([\d.]+)/i.exec(head);
      const blob = new Blob([bytes.subarray(start, end)], { type: "image/jpeg" });
      bytes = bytes.slice(end);
      onPicture(blob, captured ? Number(captured[1]) : null, dark ? dark[1].split(",").map(Number) : []);
    }
  }
}

// Watches a stream while the page is seen; onPicture(bitmap, captureTime, places of a grid without a picture),
// onState("waiting" | "live" | "refused", why it is refused).
class Watcher {
  constructor(url, onPicture, onState) {
    Object.assign(this, { url, onPicture, onState, wait: 500, newest: 0 });
    this.onVisibility = () => (document.hidden ? this.pause() : this.resume());
    document.addEventListener("visibilitychange", this.onVisibility);
    this.resume();
  }

  resume() {
    if (this.abort || this.closed) return;
    this.abort = new AbortController();
    this.run(this.abort);
  }

  pause() {
    this.abort?.abort();
    this.abort = null;
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.pause();
  }

  async run(abort) {
    if (!this.refused) this.onState("waiting");
    let guard = 0;
    const watch = () => {
      clearTimeout(guard);
      guard = setTimeout(() => abort.abort(), SILENT_MS);
    };
    watch();
    try {
      await readParts(this.url, abort.signal, (blob, ...told) => {
        watch();
        Object.assign(this, { wait: 500, refused: false });
        this.show(blob, ...told);
      });
    } catch (error) {
      if (error.status === 401) this.wait = 5000;
      this.refused = Boolean(error.status);
      if (this.refused) this.onState("refused", error.message);
    }
    clearTimeout(guard);
    if (this.closed || (abort !== this.abort && this.abort)) return;
    if (document.hidden) return;
    this.abort = null;
    if (!this.refused) this.onState("waiting");
    setTimeout(() => this.resume(), this.wait);
    this.wait = Math.min(2 * this.wait, 8000);
  }

  async show(blob, ...told) {
    const number = ++this.newest;
    const bitmap = await createImageBitmap(blob).catch(() => null);
    if (!bitmap) return;
    if (number === this.newest && !this.closed) {
      this.onState("live");
      this.onPicture(bitmap, ...told);
    }
    bitmap.close();
  }
}

// What shows pictures of a stream for as long as it is on the page.
class Screen {
  key = "";

  // Shows another stream, if it is another; "": none. The former one goes on until the other has a picture.
  follow(url, onPicture, onState) {
    if (url === this.key) return;
    this.former?.close();
    const former = url ? this.watcher : this.stop();
    this.former = former;
    this.key = url;
    if (!url) return;
    const end = () => former?.close();
    setTimeout(end, CHANGE_MS);
    const show = (...picture) => {
      end();
      onPicture(...picture);
    };
    this.watcher = new Watcher(url, show, (state, told) => {
      if (state === "refused") end();
      if (state !== "waiting" || !former || former.closed) onState(state, told);
    });
  }

  stop() {
    this.former?.close();
    this.watcher?.close();
    this.watcher = this.former = null;
    this.key = "";
  }
}

const screens = new WeakMap();

// Shows a component's data on the screen of its element, and stops soon after the page drops it.
function showOn(Kind, selector, component, prepare = () => {}) {
  const root = component.parentElement.querySelector(selector);
  const screen = screens.get(root) || new Kind(root);
  screens.set(root, screen);
  clearTimeout(screen.closing);
  prepare(screen);
  screen.show(component.data);
  return () => {
    screen.closing = setTimeout(() => screen.stop(), 500);
  };
}
