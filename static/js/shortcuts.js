// "/" to the search box, j and k over the results, o or Enter to open, "?" for help.

export function startShortcuts() {
  const help = document.getElementById("help");
  const opener = document.querySelector("[data-help]");
  if (opener && help) {
    opener.hidden = false;
    opener.addEventListener("click", () => help.showModal());
  }
  const results = [...document.querySelectorAll("[data-result]")];
  let at = -1;

  const move = (step) => {
    if (!results.length) return;
    results[at]?.classList.remove("active");
    at = Math.max(0, Math.min(results.length - 1, at + step));
    results[at].classList.add("active");
    results[at].querySelector("a").focus({ preventScroll: true });
    results[at].scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (help?.open) return;
    const box = document.getElementById("q");
    if (event.key === "/" && box) {
      event.preventDefault();
      box.focus();
      box.select();
    } else if (event.key === "?" && help) {
      help.showModal();
    } else if (event.key === "j") {
      move(1);
    } else if (event.key === "k") {
      move(-1);
    } else if (event.key === "o" && at >= 0) {
      results[at].querySelector("a").click();
    }
  });
}
