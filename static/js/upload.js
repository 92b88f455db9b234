// The upload page: files go one by one by XMLHttpRequest, which alone tells how far an upload is. The row that the
// server answers with replaces ours, and moves by itself from then on (htmx asks for it each second).
import { csrfHeaders, messageOf } from "./http.js";

export function startUploads() {
  const form = document.querySelector("[data-upload]");
  if (!form) return;
  const zone = form.querySelector(".dropzone");
  const input = form.querySelector('input[type="file"]');
  const list = document.getElementById("documents");
  const queue = [];
  let busy = false;

  const next = async () => {
    if (busy) return;
    const job = queue.shift();
    if (!job) return;
    busy = true;
    await send(job.form, job.file, job.row);
    busy = false;
    next();
  };
  const add = (files) => {
    for (const file of files) {
      const row = waitingRow(file);
      list.prepend(row);
      document.querySelector("[data-empty]")?.remove();
      queue.push({ form, file, row });
    }
    next();
  };
  list.addEventListener("change", (event) => {
    const replacing = event.target.closest("[data-replace]");
    if (!replacing) return;
    const [file] = event.target.files;
    const row = waitingRow(file);
    replacing.closest("li").before(row);
    queue.push({ form: replacing, file, row });
    next();
  });

  input.addEventListener("change", () => { add([...input.files]); input.value = ""; });
  form.addEventListener("submit", (event) => { event.preventDefault(); });
  let depth = 0;
  zone.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => { depth -= 1; if (!depth) zone.classList.remove("over"); });
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    zone.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  window.addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });
}

function waitingRow(file) {
  const row = document.getElementById("uploading-row").content.firstElementChild.cloneNode(true);
  row.querySelector(".title").textContent = file.name;
  row.querySelector(".meta").textContent = size(file.size);
  const dot = file.name.lastIndexOf(".");
  row.querySelector(".file-type").textContent = dot > 0 ? file.name.slice(dot + 1, dot + 5) : "file";
  return row;
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} kB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

function send(form, file, row) {
  const says = row.querySelector("[data-says]");
  const bar = row.querySelector("progress");
  const fields = new FormData(form);
  fields.delete("file");
  fields.append("file", file, file.name);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("HX-Request", "true");
    for (const [name, value] of Object.entries(csrfHeaders())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.value = Math.round((100 * event.loaded) / event.total);
      says.textContent = `Uploading ${bar.value} %`;
    });
    request.addEventListener("load", () => {
      if (request.status < 300) settle(row, request.responseText);
      else fail(row, errorOf(request));
      resolve();
    });
    request.addEventListener("error", () => { fail(row, "The connection broke. Add the file again."); resolve(); });
    request.send(fields);
  });
}

function errorOf(request) {
  try {
    return messageOf(JSON.parse(request.responseText), request.status);
  } catch {
    return messageOf(null, request.status);
  }
}

function settle(row, html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fresh = [...parsed.body.children];
  if (!fresh.length) return fail(row, "The server's answer could not be read.");
  for (const element of fresh) document.getElementById(element.id)?.remove();
  row.replaceWith(...fresh);
  for (const element of fresh) window.htmx?.process(element);
}

function fail(row, reason) {
  row.removeAttribute("data-uploading");
  row.querySelector("progress").remove();
  const badge = row.querySelector(".badge");
  badge.classList.add("failed");
  badge.textContent = "Failed";
  row.querySelector(".detail").hidden = false;
  row.querySelector(".detail").textContent = reason;
}
