// Alerts one below the other, in groups, with thumbnails; the one that is looked at is marked.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".queue");
  const version = JSON.stringify(data);
  if (root.version === version) return;
  root.version = version;
  const hadFocus = root.contains(parentElement.activeElement ?? document.activeElement);
  root.replaceChildren();
  let group = null;
  for (const row of data.rows) {
    if (row.group !== group) put(root, "h3", "", (group = row.group));
    const button = put(root, "button", `row ${row.state}`);
    button.type = "button";
    button.title = row.hint;
    if (row.id === data.chosen) button.setAttribute("aria-current", "true");
    const picture = put(button, "span", "thumb");
    if (row.thumb) {
      const image = put(picture, "img");
      Object.assign(image, { src: row.thumb, alt: "", loading: "lazy" });
      image.onerror = () => image.remove();
    }
    const words = put(button, "span", "words");
    put(words, "b", "", row.title);
    put(words, "small", "", row.note);
    put(button, "em", "", row.word);
    button.addEventListener("click", () => setTriggerValue("choose", row.id));
    if (row.id === data.chosen) {
      button.scrollIntoView({ block: "nearest" });
      if (hadFocus) button.focus();
    }
  }
}
