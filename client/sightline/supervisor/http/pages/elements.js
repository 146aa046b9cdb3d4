// A new element below another, with a class and a text.
function put(parent, tag, kind = "", text = "") {
  const made = document.createElement(tag);
  Object.assign(made, { className: kind, textContent: text });
  parent.append(made);
  return made;
}

