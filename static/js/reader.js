// The document page: brings the cited passage into view, on the rendered page or in the text.

export function startReader() {
  const reader = document.querySelector("[data-reader]");
  if (!reader || location.hash) return;
  const image = reader.querySelector(".page-frame img");
  const target = () => reader.querySelector(".page-frame .box, #passage");
  const show = () => target()?.scrollIntoView({ block: "center" });
  if (image && !image.complete) image.addEventListener("load", show, { once: true });
  else show();
}
