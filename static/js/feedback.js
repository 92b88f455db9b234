// What the asker thinks of an answer, said without leaving the page.
import { postForm } from "./http.js";

export function startFeedback() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("[data-feedback] form");
    if (!form) return;
    event.preventDefault();
    send(form);
  });
}

/** Shows the forms of a finished answer, which go to `url`. */
export function offerFeedback(answer, url) {
  const box = answer.querySelector("[data-feedback]");
  if (!box || !url) return;
  for (const form of box.querySelectorAll("form")) form.action = url;
  box.querySelector("[data-thanks]").textContent = "";
  box.hidden = false;
}

export function hideFeedback(answer) {
  const box = answer.querySelector("[data-feedback]");
  if (box) box.hidden = true;
}

async function send(form) {
  const box = form.closest("[data-feedback]");
  const said = box.querySelector("[data-thanks]");
  try {
    await postForm(form.action, new FormData(form));
    said.textContent = "Thank you. Your administrators see it.";
    box.querySelector("details").open = false;
  } catch (error) {
    said.textContent = error.message;
  }
}
