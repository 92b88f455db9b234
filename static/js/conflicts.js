// What other documents say otherwise, below an answer.
import { placeUrl } from "./sources.js";

/** Fills `element` with a sentence for each conflict; titles, values and quotes are set as text. */
export function fillConflicts(element, documents, conflicts) {
  element.querySelector("ul").replaceChildren(...conflicts.map((conflict) => sentence(documents, conflict.places)));
  element.hidden = conflicts.length === 0;
}

function sentence(documents, places) {
  const item = document.createElement("li");
  places.forEach((said, index) => {
    const link = document.createElement("a");
    link.href = placeUrl(documents, said);
    link.title = said.quote;
    link.textContent = said.title;
    const value = document.createElement("strong");
    value.textContent = said.value;
    const where = document.createElement("span");
    where.className = "muted small";
    where.textContent = `(${[said.place, said.dated ? `dated ${said.dated}` : `added ${said.added}`].filter(Boolean).join(", ")})`;
    item.append(link, " says ", value, " ", where, index < places.length - 1 ? ", " : ".");
  });
  return item;
}
