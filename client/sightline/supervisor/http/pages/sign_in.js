"use strict";

// Each form is sent as JSON to /auth/ID. A link's secret comes in the fragment, which no server's log has.
const secret = location.hash.slice(1);
const asked = location.pathname.split("/").pop();
const query = new URLSearchParams(location.search);
const next = query.get("next") || "";
const ENDED = "You are no longer signed in. Sign in to go on where you were.";
const text = document.getElementById("text");
if (secret) history.replaceState(null, "", location.pathname + location.search);

function show(...ids) {
  for (const form of document.forms) form.hidden = !ids.includes(form.id);
}

function isLocal(path) {
  return /^\/(?![/\\])[\x21-\x7e]*$/.test(path) && !path.includes("\\");
}

function welcome(person) {
  text.textContent = `Signed in as ${person.name} (${person.role}).`;
  if (person.role === "display") {
    if (asked === "wall") location.replace(`/live/pages/wall${location.search}`);
    show("sign-in", "sign-out");
  } else if (person.must_change) {
    text.textContent += " Change the password first.";
    show("password", "sign-out");
  } else if (isLocal(next)) {
    location.replace(next);
  } else {
    show(...(person.how === "password" ? ["password", "sign-out"] : ["sign-out"]));
  }
}

function send(what, values) {
  const body = what === "sign-out" ? {} : { body: JSON.stringify(values) };
  return fetch(`/auth/${what}`, { method: "POST", headers: { "Content-Type": "application/json" }, ...body });
}

async function start() {
  const me = await (await fetch("/auth/me")).json();
  const oidc = document.getElementById("oidc");
  oidc.hidden = !me.oidc;
  oidc.href = `/auth/oidc?next=${encodeURIComponent(isLocal(next) ? next : "/auth/sign-in")}`;
  if (secret && (asked === "set-up" || asked === "invitation")) show(asked);
  else if (secret && asked === "wall" && me.person && me.person.role !== "display") {
    text.textContent = `You are signed in as ${me.person.name}. A wall display shows pictures alone, so this signs you out.`;
    show(asked);
  } else if (secret && (asked === "link" || asked === "wall")) document.getElementById(asked).requestSubmit();
  else if (me.person) welcome(me.person);
  else {
    show("sign-in");
    if (query.has("ended")) text.textContent = ENDED; // an open page has led here
  }
}

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    if (["set-up", "invitation", "link", "wall"].includes(form.id)) values.link = secret;
    if (form.id === "wall") await send("sign-out");
    const answer = await send(form.id, values);
    const given = await answer.json();
    form.reset();
    if (!answer.ok) {
      text.textContent = given.error;
    } else if (given.person) {
      welcome(given.person);
    } else {
      text.textContent = "Signed out.";
      show("sign-in");
    }
  });
}

start();
