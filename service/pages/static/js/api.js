/** Calls of the API; errors carry the problem's detail. */

async function read(answer) {
  const isJson = (answer.headers.get("content-type") ?? "").includes("json");
  const document = isJson ? await answer.json() : null;
  if (!answer.ok) throw new Error(document?.detail ?? `The service answered ${answer.status}.`);
  return document;
}

/** A JSON document; the browser's cache makes an unchanged one cheap. */
export async function get(url) {
  return read(await fetch(url, { headers: { Accept: "application/json" }, cache: "no-cache" }));
}

/** POST without a body. */
export async function post(url) {
  return read(await fetch(url, { method: "POST" }));
}

/** POST `form`, telling `onProgress` the share that was sent. */
export function upload(url, form, onProgress) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", url);
    call.responseType = "json";
    call.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    call.addEventListener("load", () => {
      if (call.status < 300) resolve(call.response);
      else reject(new Error(call.response?.detail ?? `The service answered ${call.status}.`));
    });
    call.addEventListener("error", () => reject(new Error("The service does not answer. Is it running?")));
    call.send(form);
  });
}
