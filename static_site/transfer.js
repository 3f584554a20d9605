/**
 * Talks to the API and to S3. What can pass by itself (no network, a busy server, an expired form) is tried again
 * here, with back-off. What cannot is thrown as a Problem, whose message is fit to show.
 */

const API_TIMEOUT = 30_000; // API Gateway itself gives up after 29 s
const STALL_TIMEOUT = 90_000; // an upload that moved nothing for so long is dead
const FORM_LIFE = 270_000; // it lives 300 s; no try should start in its last moments
const LONGEST_PAUSE = 30; // seconds
const MAX_FAILURES = 8;
const TAIL_BYTES = 8192;

/** `kind`: passing (try again), expired (get a new form), refused (the user may try again) or final. */
class Problem extends Error {
  constructor(message, kind) {
    super(message);
    this.kind = kind;
  }
}

let clockSkew = 0;

/** The server's time in ms: elapsed times must not depend on how the user's clock is set. */
export const serverNow = () => Date.now() + clockSkew;

/** Calls the API (POST if there is a body); returns its JSON. */
export async function api(path, body) {
  const post = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const options = { ...post, cache: "no-store", signal: AbortSignal.timeout(API_TIMEOUT) };
  const response = await fetch(`/api/${path}`, options).catch(() => {
    throw new Problem("The service cannot be reached.", "passing");
  });
  const answer = await response.json().catch(() => null);
  clockSkew = (Date.parse(response.headers.get("Date")) || Date.now()) - Date.now();
  if (response.ok && answer) return answer;
  const busy = response.status < 400 || response.status === 429 || response.status >= 500;
  if (busy) throw new Problem("The service has trouble.", "passing");
  throw new Problem(answer?.Message ?? `The service refused this (status ${response.status}).`, "final");
}

/**
 * Records and uploads one file, however many tries that takes. Calls `onForm(id)` for every new record,
 * `onProgress(bytes)` as they leave, `onPause(text)` before each wait. Returns the ms from the record to the end.
 */
export async function sendFile(file, text, { signal, onForm, onProgress, onPause }) {
  let form = null;
  for (let tries = 0, failures = 0; ; tries += 1) {
    try {
      if (!form || form.age() > FORM_LIFE) {
        form = await createRecord(file, text);
        signal.throwIfAborted();
        onForm(form.id);
      }
      await postFile(form.upload, file, onProgress, signal);
      return form.age();
    } catch (problem) {
      signal.throwIfAborted();
      if (!["passing", "expired"].includes(problem.kind)) throw problem;
      if (navigator.onLine) failures += 1; // being offline is nobody's failure
      if (failures >= MAX_FAILURES) throw new Problem(problem.message, "refused");
      await checkReadable(file);
      if (problem.kind === "expired") form = null;
      else await backOff(problem, tries, onPause, signal);
    }
  }
}

async function createRecord(file, text) {
  const record = await api("files", { file_name: file.name, input_text: text, file_size: file.size });
  const born = performance.now();
  return { ...record, age: () => performance.now() - born };
}

function postFile({ url, fields }, file, onProgress, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file); // last: S3 ignores what follows it
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how much of a body has left
    let watchdog;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => request.abort(), STALL_TIMEOUT);
    };
    request.upload.onprogress = ({ loaded, total }) => {
      watch();
      onProgress(Math.max(0, loaded - (total - file.size))); // without the form's own bytes
    };
    request.onload = () => (request.status < 300 ? resolve() : reject(refusal(request)));
    request.onerror = request.onabort = () => reject(new Problem("The connection was lost.", "passing"));
    request.onloadend = () => clearTimeout(watchdog);
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", url);
    request.send(body);
    watch();
  });
}

/** What S3's XML error document means for the user. */
function refusal({ status, responseText }) {
  const xml = new DOMParser().parseFromString(responseText, "application/xml");
  const code = xml.querySelector("Code")?.textContent ?? "";
  const message = xml.querySelector("Message")?.textContent ?? `status ${status}`;
  if (/expired/i.test(code + message)) return new Problem("The upload form has expired.", "expired");
  if (status >= 500 || code === "RequestTimeout") return new Problem("The storage is busy.", "passing");
  return new Problem(`The storage refused the upload: ${message}`, "refused");
}

/** A file that was changed or deleted fails like a lost connection; only reading it tells. */
const checkReadable = (file) =>
  file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Problem("The file was changed or moved since it was chosen. Choose it again.", "final");
  });

/** Waits, longer each time; coming back online cuts the wait short, and so does an abort. */
async function backOff({ message }, tries, onPause, signal) {
  const seconds = Math.min(2 ** tries, LONGEST_PAUSE);
  signal.throwIfAborted();
  onPause(`${navigator.onLine ? message : "You are offline."} Trying again in ${seconds} s.`);
  await new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    window.addEventListener("online", resolve, { once: true });
    signal.addEventListener("abort", resolve);
  });
  signal.throwIfAborted();
}

/** The last bytes of an object, and its size: `{ bytes, total }`. */
export async function fetchTail(url) {
  const start = await fetchRange(url, 0, TAIL_BYTES - 1);
  return start.total <= TAIL_BYTES ? start : fetchRange(url, start.total - TAIL_BYTES, start.total - 1);
}

/** Ranges name their first byte: one that counts from the end (`bytes=-n`) would cost a CORS preflight. */
async function fetchRange(url, first, last) {
  const response = await fetch(url, { headers: { Range: `bytes=${first}-${last}` }, cache: "no-store" });
  if (response.status !== 206) {
    await response.body.cancel(); // never pull a whole result for its last lines
    throw new Problem("There is no preview.", "final");
  }
  const total = Number(response.headers.get("Content-Range").split("/")[1]);
  return { bytes: new Uint8Array(await response.arrayBuffer()), total };
}
