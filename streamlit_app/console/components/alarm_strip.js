// While something is new: a strip with a link, the tab's title, a sound, and a word for screen readers.
let audio = null;

function beep() {
  audio ??= new AudioContext();
  if (audio.state !== "running") return; // the browser wants a click first
  for (const [at, pitch] of [[0, 880], [0.18, 660]]) {
    const tone = audio.createOscillator(), loudness = audio.createGain();
    tone.frequency.value = pitch;
    loudness.gain.setValueAtTime(0.12, audio.currentTime + at);
    loudness.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.16);
    tone.connect(loudness).connect(audio.destination);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.17);
  }
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".alarm");
  root.hidden = !data.count;
  const link = root.querySelector("a");
  if (link.textContent !== data.text) link.textContent = data.text;
  const plain = document.title.replace(/^\(\d+\) /, "");
  const title = data.count ? `(${data.count}) ${plain}` : plain;
  if (document.title !== title) document.title = title;
  if (data.newest && data.newest !== root.dataset.newest) {
    if (root.dataset.newest !== undefined && data.sound) beep();
  }
  root.dataset.newest = data.newest;
  if (data.sound && !audio) document.addEventListener("click", () => (audio ??= new AudioContext()).resume(), { once: true });
}
