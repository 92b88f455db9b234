// Requests to our own server, with the token that it put on <body> for htmx.

export function csrfHeaders() {
  return JSON.parse(document.body.getAttribute("hx-headers") ?? "{}");
}

/** Posts a form's fields and returns the parsed JSON. Throws an Error whose message a person can read. */
export async function postForm(url, fields, signal) {
  const response = await fetch(url, {
    method: "POST",
    headers: { Accept: "application/json", ...csrfHeaders() },
    body: fields,
    credentials: "same-origin",
    signal,
  });
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) throw new Error(messageOf(body, response.status));
  return body;
}

/** What an error body says, with what to do, or one made from the status. */
export function messageOf(body, status) {
  const { message, detail } = body?.error ?? {};
  if (message) return typeof detail === "string" ? `${message} ${detail}` : message;
  if (status === 403) return "You are signed out. Reload the page and sign in again.";
  if (status === 404) return "This is not there, or you are signed out. Reload the page.";
  if (status === 413) return "The file is larger than this installation accepts.";
  if (status === 429 || status === 503) return "There are too many requests at the moment. Try again in a few seconds.";
  return `The server could not do this (status ${status}).`;
}
