// Header menus are <details>, so they open without scripts; here they learn to close. Facets fold on small screens,
// and forms that cannot be undone ask first.

export function startMenus() {
  const menus = [...document.querySelectorAll("details.menu")];
  document.addEventListener("click", (event) => {
    for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus.filter((m) => m.open)) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
  }
  const facets = document.querySelector("details.facets");
  if (!facets) return;
  const narrow = matchMedia("(max-width: 60rem)");
  const fold = () => { facets.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  const form = facets.querySelector("form");
  form.addEventListener("change", () => form.requestSubmit());
  form.querySelector("[data-apply]").hidden = true;
}
