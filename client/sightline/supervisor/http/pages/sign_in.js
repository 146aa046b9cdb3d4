"use strict";

// Each form is sent as JSON to /auth/ID. A link's secret comes in the fragment, which no server's log has.
const secret = location.hash.slice(1);
const asked = location.pathname.split("/").pop();
const next = new URLSearchParams(location.search).get("next") || "";
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
  if (person.must_change) {
    text.textContent += " Change the password first.";
    show("password", "sign-out");
  } else if (isLocal(next)) {
    location.replace(next);
  } else {
    show(...(person.how === "password" ? ["password", "sign-out"] : ["sign-out"]));
  }
}

async function start() {
  const me = await (await fetch("/auth/me")).json();
  const oidc = document.getElementById("oidc");
  oidc.hidden = !me.oidc;
  oidc.href = `/auth/oidc?next=${encodeURIComponent(isLocal(next) ? next : "/auth/sign-in")}`;
  if (secret && asked === "set-up") show(asked);
  else if (secret && asked === "link") document.getElementById("link").requestSubmit();
  else if (me.person) welcome(me.person);
  else show("sign-in");
}

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    if (form.id === "set-up" || form.id === "link") values.link = secret;
    const body = form.id === "sign-out" ? {} : { body: JSON.stringify(values) };
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(`/auth/${form.id}`, { method: "POST", headers, ...body });
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
