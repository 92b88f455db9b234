// The slim bar under the header: asks /readyz until the models are loaded, then leaves.

const PAUSE_MS = 1000;

export function startReadiness() {
  const bar = document.querySelector("[data-readyz]");
  if (!bar) return;
  const text = bar.querySelector("[data-readyz-text]");
  const look = async () => {
    try {
      const response = await fetch(bar.dataset.readyz, { headers: { Accept: "application/json" } });
      const body = await response.json().catch(() => ({}));
      if (response.ok) {
        if (document.querySelector("[data-problem]")) return location.reload();
        bar.remove();
        document.dispatchEvent(new CustomEvent("tessera:ready"));
        return;
      }
      const failed = body.state === "failed";
      bar.classList.toggle("failed", failed);
      if (failed) bar.querySelector(".spinner")?.remove();
      const said = failed ? "The models could not be loaded" : "Models are loading";
      const sentence = body.detail ? `${said}: ${body.detail}` : said;
      if (text.textContent !== sentence) text.textContent = sentence;
    } catch {
      text.textContent = "The server does not answer; trying again.";
    }
    setTimeout(look, PAUSE_MS);
  };
  setTimeout(look, PAUSE_MS);
}
