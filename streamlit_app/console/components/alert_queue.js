// Alerts one below the other, in groups, with thumbnails; the one that is looked at is marked.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".queue");
  const text = (tag, kind, words, parent) => {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = words;
    parent.append(made);
    return made;
  };
  const version = JSON.stringify(data);
  if (root.version === version) return;
  root.version = version;
  const hadFocus = root.contains(parentElement.activeElement ?? document.activeElement);
  root.replaceChildren();
  let group = null;
  for (const row of data.rows) {
    if (row.group !== group) text("h3", "", (group = row.group), root);
    const button = text("button", `row ${row.state}`, "", root);
    button.type = "button";
    if (row.id === data.chosen) button.setAttribute("aria-current", "true");
    const picture = text("span", "thumb", "", button);
    if (row.thumb) {
      const image = document.createElement("img");
      Object.assign(image, { src: row.thumb, alt: "", loading: "lazy" });
      image.onerror = () => image.remove();
      picture.append(image);
    }
    const words = text("span", "words", "", button);
    text("b", "", row.title, words);
    text("small", "", row.note, words);
    text("em", "", row.word, button);
    button.addEventListener("click", () => setTriggerValue("choose", row.id));
    if (row.id === data.chosen) {
      button.scrollIntoView({ block: "nearest" });
      if (hadFocus) button.focus();
    }
  }
}
