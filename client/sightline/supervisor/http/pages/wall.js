// A wall display: pictures of the cameras that it may see, how each does, and nothing to press.
const EVERY_MS = 3000;
const ANSWER_MS = 8000;
const TURN_MS = 20000; // from one screen of cameras to the next one
const ON_SCREEN = 16;
const AWAY = "Sightline does not answer. This display comes back by itself.";
const ENDED = "This display\u2019s link has ended. Ask an admin for another one.";
const asked = new URLSearchParams(location.search);
const groups = asked.getAll("group");
const wall = new Wall(document.querySelector(".tiles"));
const notice = document.getElementById("notice");
let wasAway = false;

function ago(time) {
  const minutes = Math.floor((Date.now() / 1000 - time) / 60);
  if (minutes < 1) return "a moment ago";
  return minutes < 120 ? `${minutes} min ago` : `${Math.floor(minutes / 60)} h ago`;
}

function tileOf({ name, state, live, last_frame_time: last }) {
  const why = live || !last ? "" : `last picture ${ago(last)}`;
  return { name, word: state.replaceAll("_", " "), tone: live ? "good" : "bad", why, note: "" };
}

// The cameras to show, and what is wrong.
async function ask() {
  try {
    const answer = await fetch("/api/v1/wall", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status === 401 || answer.status === 403) return [[], ENDED];
    if (!answer.ok) return [[], AWAY];
    const mine = (await answer.json()).filter((camera) => !groups.length || camera.groups.some((name) => groups.includes(name)));
    return [mine, mine.length ? "" : "There is no camera here that this display may see."];
  } catch {
    return [[], AWAY];
  }
}

async function look() {
  const [cameras, problem] = await ask();
  if (wasAway && problem !== AWAY) location.reload(); // the program that comes back may be another version
  wasAway = problem === AWAY;
  notice.textContent = problem;
  const screens = Math.max(1, Math.ceil(cameras.length / ON_SCREEN));
  const at = (Math.floor(Date.now() / TURN_MS) % screens) * ON_SCREEN;
  const tiles = cameras.slice(at, at + ON_SCREEN).map(tileOf);
  wall.show({ tiles, overlay: asked.get("overlay") !== "0", least_px: 0, wall: true });
  setTimeout(look, EVERY_MS);
}

look();
