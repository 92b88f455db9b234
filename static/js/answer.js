// The answer block: asks, streams, stops, asks again. Text that streams is set as text, never as markup; only the
// finished answer, which the server rendered and sanitised, is markup.
import { postForm } from "./http.js";
import { fillSources } from "./sources.js";
import { fillConflicts } from "./conflicts.js";
import { hideFeedback, offerFeedback } from "./feedback.js";

export function startAnswers() {
  for (const element of document.querySelectorAll("[data-answer]")) new AnswerBlock(element);
  for (const form of document.querySelectorAll("[data-followup]")) {
    form.addEventListener("submit", (event) => { event.preventDefault(); followUp(form); });
  }
}

/** Asks the next question of the conversation, then goes to the page that streams its answer. */
async function followUp(form) {
  const button = form.querySelector('button[type="submit"]');
  button.disabled = true;
  try {
    const asked = await postForm(form.action, new FormData(form));
    if (form.dataset.next) location.assign(`${form.dataset.next}?turn=${asked.turn_id}#turn-${asked.turn_id}`);
    else location.assign(asked.url);
  } catch (error) {
    button.disabled = false;
    const said = form.querySelector("[data-error]");
    said.textContent = error.message;
    said.hidden = false;
  }
}

class AnswerBlock {
  constructor(element) {
    this.element = element;
    this.form = element.querySelector("[data-ask]");
    this.text = element.querySelector("[data-text]");
    this.sources = element.querySelector("[data-sources]");
    this.conflicts = element.querySelector("[data-conflicts]");
    this.status = element.querySelector("[data-status]");
    this.stopButton = element.querySelector("[data-stop]");
    this.againButton = element.querySelector("[data-again]");
    this.followUp = element.querySelector("[data-followup]");
    this.events = null;
    this.eventsUrl = "";
    this.writing = false;
    this.stopUrl = "";
    this.againUrl = element.dataset.againUrl ?? "";
    this.passages = [];
    this.run = 0;
    this.form?.addEventListener("submit", (event) => { event.preventDefault(); this.ask(); });
    this.stopButton.addEventListener("click", () => this.stop());
    this.againButton.addEventListener("click", () => this.ask(this.againUrl));
    addEventListener("pagehide", () => this.events?.close());
    addEventListener("pageshow", (event) => { if (event.persisted && this.writing) this.follow(this.eventsUrl, this.stopUrl); });
    if (element.dataset.events) this.follow(element.dataset.events, element.dataset.stopUrl);
    else if (element.hasAttribute("data-auto")) this.whenReady(() => this.ask());
    else if (this.againUrl) this.againButton.hidden = false;
  }

  /** Waits for the models, so that a question asked while they load is answered and not refused. */
  whenReady(then) {
    if (!document.querySelector("[data-readyz]")) return then();
    this.form.hidden = true;
    this.say("Waiting for the models to load", true);
    document.addEventListener("tessera:ready", then, { once: true });
  }

  /** Asks the form's question, or its turn once more where `againUrl` names one. */
  async ask(againUrl = "") {
    const run = ++this.run;
    this.events?.close();
    this.begin();
    try {
      const asked = await postForm(againUrl || this.form.action, againUrl ? new FormData() : new FormData(this.form));
      if (run !== this.run) return;
      this.remember(asked);
      this.follow(asked.events_url, asked.stop_url);
    } catch (error) {
      if (run === this.run) this.fail(error.message);
    }
  }

  begin() {
    this.element.dataset.state = "asking";
    if (this.form) this.form.hidden = true;
    this.text.replaceChildren();
    this.sources.hidden = true;
    this.conflicts.hidden = true;
    hideFeedback(this.element);
    this.followUp && (this.followUp.hidden = true);
    this.stopButton.hidden = false;
    this.againButton.hidden = true;
    this.say("Searching your documents", true);
  }

  /** Shows the events of a run from the first one on, also after the browser brought the page back. */
  follow(eventsUrl, stopUrl) {
    this.eventsUrl = eventsUrl;
    this.stopUrl = stopUrl ?? "";
    this.writing = true;
    this.text.replaceChildren();
    this.stopButton.hidden = false;
    if (this.form) this.form.hidden = true;
    const events = new EventSource(eventsUrl);
    this.events = events;
    let drops = 0;
    const on = (name, handle) => events.addEventListener(name, (event) => {
      drops = 0;
      if (event.data !== undefined) handle(JSON.parse(event.data));
    });
    on("sources", (data) => { this.passages = data.sources; this.say("Reading the passages", true); });
    on("answer.delta", (data) => this.append(data.text));
    on("answer.completed", (data) => { events.close(); this.complete(data); });
    events.addEventListener("error", (event) => {
      if (event.data !== undefined) {
        events.close();
        this.fail(JSON.parse(event.data).message);
      } else if (++drops > 5 || events.readyState === EventSource.CLOSED) {
        events.close();
        this.fail("The connection to the server broke.");
      }
    });
  }

  append(piece) {
    if (!this.text.classList.contains("streaming")) {
      this.text.classList.add("streaming");
      this.text.setAttribute("aria-busy", "true");
      this.element.dataset.state = "streaming";
      this.say("Writing");
    }
    this.text.append(piece);
  }

  complete(data) {
    this.rest(data.status);
    this.text.innerHTML = data.html;
    fillSources(this.sources, this.element.dataset.documents, data.status, data.citations, this.passages);
    fillConflicts(this.conflicts, this.element.dataset.documents, data.conflicts);
    this.say(data.status === "stopped" ? "Stopped" : "");
    if (this.followUp) this.followUp.hidden = false;
    offerFeedback(this.element, this.againUrl.replace(/regenerate$/, "feedback"));
  }

  async stop() {
    this.stopButton.disabled = true;
    try {
      if (this.stopUrl) await postForm(this.stopUrl, new FormData());
      else throw new Error("nothing to stop yet");
    } catch {
      this.run += 1;
      this.events?.close();
      this.rest("stopped");
      this.say("Stopped");
      if (this.form && !this.againUrl) this.form.hidden = false;
    }
  }

  rest(state) {
    this.writing = false;
    this.element.dataset.state = state;
    this.text.classList.remove("streaming");
    this.text.removeAttribute("aria-busy");
    this.stopButton.hidden = true;
    this.stopButton.disabled = false;
    this.againButton.hidden = !this.againUrl;
  }

  fail(message) {
    this.rest("failed");
    this.say("");
    const notice = document.createElement("p");
    notice.className = "notice error";
    notice.setAttribute("role", "alert");
    notice.append(message);
    const retry = document.createElement("button");
    retry.type = "button";
    retry.className = "button compact";
    retry.textContent = "Try again";
    retry.addEventListener("click", () => this.ask(this.againUrl));
    const actions = document.createElement("div");
    actions.className = "actions";
    if (this.form) actions.append(retry);
    this.text.replaceChildren(notice, actions);
  }

  say(sentence, working = false) {
    this.status.replaceChildren();
    if (working) {
      const spinner = document.createElement("span");
      spinner.className = "spinner";
      spinner.setAttribute("aria-hidden", "true");
      this.status.append(spinner);
    }
    this.status.append(sentence);
  }

  /** Puts the turn into the address, so that a reload shows this answer and asks nothing again. */
  remember(asked) {
    this.againUrl = asked.regenerate_url ?? this.againUrl;
    for (const form of [this.form, this.followUp]) {
      const field = form?.querySelector('[name="conversation"]');
      if (field && asked.conversation_id) field.value = asked.conversation_id;
    }
    if (!asked.turn_id || !this.element.hasAttribute("data-in-address")) return;
    const address = new URL(location.href);
    address.searchParams.set("turn", asked.turn_id);
    history.replaceState(null, "", address);
  }
}
