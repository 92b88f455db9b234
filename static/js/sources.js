// The list below an answer: the passages that it cites, or the nearest ones where nothing fits.

/** Fills `element` with links; titles and quotes are text, addresses come from our server. */
export function fillSources(element, status, citations, nearest) {
  const found = status !== "not_found";
  const rows = found ? citations : nearest;
  element.querySelector("h3").textContent = found ? "Sources" : "Nearest passages";
  element.querySelector("ol").replaceChildren(...rows.map((row) => source(row, found)));
  element.hidden = rows.length === 0;
}

function source(row, numbered) {
  const link = document.createElement("a");
  link.className = "source";
  link.href = row.url;
  link.append(part("n", numbered ? String(row.n) : "·"), part("title", row.title));
  link.append(part("where muted small", row.page ? `page ${row.page}` : ""), part("quote", row.quote ?? ""));
  const item = document.createElement("li");
  item.append(link);
  return item;
}

function part(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}
