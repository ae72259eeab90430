/** Makes elements; text is never read as markup. */

/** An element of `tag` with `properties` and `children` (elements or text). */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The element with `id`. */
export function byId(id) {
  return document.getElementById(id);
}

/** Show `text` in the element with `id`, or hide it when there is none. */
export function tell(id, text) {
  const place = byId(id);
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** Replace the rows of a table: `head` is a row of names, `rows` are rows of text; the first column names its row. */
export function fillTable(table, head, rows) {
  const cell = (content, column) =>
    column === 0
      ? element("th", { scope: "row" }, content)
      : element("td", { className: "number" }, content);
  table.replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((name, column) => element("th", { scope: "col", className: column ? "number" : "" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))),
  );
}
