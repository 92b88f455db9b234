// The list below an answer: the passages that it cites, or the nearest ones where nothing fits.

/** Fills `element` with links under `documents`, our own address; titles and quotes are set as text. */
export function fillSources(element, documents, status, citations, passages) {
  const found = status !== "not_found";
  const rows = found ? citations : passages;
  element.querySelector("h3").textContent = found ? "Sources" : "Nearest passages";
  element.querySelector("ol").replaceChildren(...rows.map((row) => source(documents, row, found)));
  element.hidden = rows.length === 0;
}

/** The address of a place in a document, under `documents`. */
export function placeUrl(documents, row) {
  const place = new URLSearchParams({ page: row.page, start: row.start, end: row.end, version: row.version_id });
  return `${documents}${encodeURIComponent(row.document_id)}/?${place}`;
}

function source(documents, row, numbered) {
  const link = document.createElement("a");
  link.className = "source";
  link.href = placeUrl(documents, row);
  link.append(
    part("n", numbered ? String(row.n) : "·"),
    part("title", row.title),
    part("where muted small", row.place),
    part("quote", row.quote ?? row.text ?? ""),
  );
  const item = document.createElement("li");
  item.append(link, ...alsoIn(documents, row.also_in ?? []));
  return item;
}

function alsoIn(documents, copies) {
  if (copies.length === 0) return [];
  const line = part("also-in muted small", "Also in: ", "p");
  copies.forEach((copy, index) => {
    const link = document.createElement("a");
    link.href = placeUrl(documents, copy);
    link.textContent = copy.title;
    line.append(...(index ? [", ", link] : [link]));
  });
  return [line];
}

function part(name, text, kind = "span") {
  const element = document.createElement(kind);
  element.className = name;
  element.textContent = text;
  return element;
}
