/**
 * The page: a form that starts jobs, the list of jobs, and one job's own view behind `#id`.
 *
 * A job is a plain object with its row in the list. `state` is what this browser knows (queued, uploading, uploaded,
 * cancelled, error), `remote` what the API last said. Each is kept in localStorage under a key of its own, so that
 * two tabs do not overwrite each other's list.
 */

import { api, fetchTail, sendFile } from "./transfer.js";
import { drawJob, drawPreview, focusFirst, formatBytes, fromTemplate, isSending, statusOf, write } from "./view.js";

const PREFIX = "addendum:";
const KEPT_OF_JOB = "key id name size textBytes state message added uploadMs lagMs remote";
const KEPT_OF_REMOTE = "status error created_at started_at finished_at expires_at"; // not its URL
const KEPT = `${KEPT_OF_JOB} ${KEPT_OF_REMOTE}`.split(" ");
const PARALLEL_UPLOADS = 3;
const IDS_PER_REQUEST = 50;
const FIRST_POLL = 500;
const SLOWEST_POLL = 5000;
const URL_LIFE = 240_000; // a download URL lives 300 s
const LATE_UPLOAD = 600_000; // an upload that this page lost sight of may show up for so long
const UNFINISHED = "The upload did not finish here. Unless another tab is still sending it, choose the file again.";

const $ = (id) => document.getElementById(id);
const jobs = new Map();
const allJobs = () => [...jobs.values()];
const inState = (state) => allJobs().filter((job) => job.state === state);
let limits = null;
let chosen = [];

// --- What survives a reload

/** Storage throws in private modes and when full: the list then lives as long as the page. */
function guarded(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

const readKept = (key) => guarded(() => JSON.parse(localStorage.getItem(key)));
const forget = ({ key }) => guarded(() => localStorage.removeItem(key));

function keep(job) {
  if (!job.visited) guarded(() => localStorage.setItem(job.key, JSON.stringify(job, KEPT)));
}

function restoreAll() {
  const keys = guarded(() => Object.keys(localStorage)) ?? [];
  const records = keys.filter((key) => key.startsWith(PREFIX)).map(readKept).filter(Boolean);
  records.sort((a, b) => a.added - b.added).forEach(restore);
}

/** A file cannot be kept: an upload that was under way is lost, unless the API comes to know better. */
function restore(record) {
  if (record.remote?.expires_at * 1000 < Date.now()) return forget(record);
  const lost = isSending(record) && { state: "error", message: UNFINISHED };
  drawJob(addJob({ ...record, ...lost }));
}

// --- The rows

function addJob(fields) {
  const key = PREFIX + crypto.randomUUID();
  const job = { key, added: Date.now(), urlAt: 0, ...fields, row: fromTemplate("job-row") };
  for (const [name, action] of Object.entries({ cancel, retry: enqueue, remove, download, peek })) {
    job.row.querySelector(`.${name}`).onclick = (event) => action(job, event);
  }
  jobs.set(job.key, job);
  $("list").prepend(job.row);
  return job;
}

function update(job, fields) {
  keep(Object.assign(job, fields));
  drawJob(job);
}

function dropRow(job) {
  jobs.delete(job.key);
  job.row.remove();
}

function remove(job) {
  const next = job.row.nextElementSibling ?? job.row.previousElementSibling;
  forget(job);
  dropRow(job);
  focusFirst(next?.querySelector(".remove"), next?.querySelector(".name[href]"), $("file"));
}

async function download(job, event) {
  quietUntil = Date.now() + 1000;
  if (freshUrl(job)) return; // the link itself does it
  event.preventDefault();
  await refresh([job]).catch((problem) => notify(problem.message));
  if (freshUrl(job)) job.row.querySelector(".download").click();
}

const freshUrl = ({ urlAt, remote }) => Date.now() - urlAt < URL_LIFE && remote.download_url;

async function peek(job) {
  const box = job.row.querySelector(".preview");
  box.hidden = !box.hidden;
  drawJob(job);
  if (box.hidden || box.querySelector("mark")) return;
  try {
    if (!freshUrl(job)) await refresh([job]);
    const tail = await fetchTail(job.remote.download_url);
    drawPreview(box, tail, isAppended(job, tail) ? job.textBytes : 0);
  } catch {
    box.querySelector(".rule").textContent = "There is no preview. The download has the whole result.";
  }
}

/** Whether a result ends with the text: after a reload, when the text is gone, by its size. */
function isAppended({ size, textBytes, text = "" }, { bytes, total }) {
  return total === size + textBytes && new TextDecoder().decode(bytes).endsWith(text.slice(-99));
}

// --- Uploading

function enqueue(job) {
  for (const name of ["id", "remote", "uploadMs", "lagMs", "firstByteAt"]) delete job[name];
  job.row.querySelector("pre").replaceChildren();
  update(job, { state: "queued", sent: 0, abort: new AbortController() });
  startUploads();
}

function startUploads() {
  const free = Math.max(0, PARALLEL_UPLOADS - inState("uploading").length);
  inState("queued").slice(0, free).forEach(upload);
}

async function upload(job) {
  const { signal } = job.abort;
  update(job, { state: "uploading", begunAt: performance.now() });
  try {
    const lagMs = await sendFile(job.file, job.text, { signal, ...uploadHooks(job) });
    signal.throwIfAborted();
    Object.assign(job, { state: "uploaded", lagMs, uploadMs: performance.now() - job.begunAt });
    announceStatus(job);
    wakePolling();
  } catch (problem) {
    if (signal.aborted) return;
    const { message, kind } = problem;
    Object.assign(job, { state: "error", message, hopeless: kind === "final" });
    announce(job, message);
  }
  update(job, { notice: "" });
  startUploads();
}

function uploadHooks(job) {
  return {
    onForm: (id) => update(job, { id }),
    onProgress(sent) {
      job.firstByteAt ??= performance.now();
      drawJob(Object.assign(job, { sent, notice: "" }));
    },
    onPause(notice) {
      if (!job.notice) announce(job, notice);
      drawJob(Object.assign(job, { notice, sent: 0, firstByteAt: undefined }));
    },
  };
}

function cancel(job) {
  job.abort.abort();
  forget(job);
  drawJob(Object.assign(job, { state: "cancelled", notice: "" }));
  announceStatus(job);
  startUploads();
}

let quietUntil = 0; // browsers ask about leaving even when a link only starts a download

function onBeforeUnload(event) {
  if (allJobs().some(isSending) && Date.now() > quietUntil) event.preventDefault();
}

// --- Polling

let pollDelay = FIRST_POLL;
let pollTimer = 0;
let isPolling = false;

/** Whether the API still has news about a job. */
function isOpen({ id, state, message, added, remote, urlAt }) {
  const unsure = id && message === UNFINISHED && Date.now() - added < LATE_UPLOAD;
  if (state !== "uploaded") return state === "error" && unsure;
  return !urlAt || !["SUCCEEDED", "FAILED"].includes(remote?.status);
}

function wakePolling() {
  pollDelay = FIRST_POLL;
  clearTimeout(pollTimer);
  if (!isPolling) pollTimer = setTimeout(poll);
}

async function poll() {
  const open = allJobs().filter(isOpen);
  if (document.hidden || !open.length) return;
  isPolling = true;
  try {
    await refresh(open);
    notify("");
  } catch (problem) {
    notify(`${problem.message} Trying again.`);
  }
  isPolling = false;
  pollTimer = setTimeout(poll, pollDelay);
  pollDelay = Math.min(1.5 * pollDelay, SLOWEST_POLL);
}

async function refresh(open) {
  for (let first = 0; first < open.length; first += IDS_PER_REQUEST) {
    const ids = open.slice(first, first + IDS_PER_REQUEST).map((job) => job.id);
    const { files } = await api(`files?ids=${ids}`);
    const asked = allJobs().filter((job) => ids.includes(job.id)); // not removed or sent again meanwhile
    asked.forEach((job) => learn(job, files.find((file) => file.id === job.id)));
  }
}

function learn(job, remote) {
  if (!remote) return miss(job);
  const before = job.name && statusOf(job);
  const state = job.visited || remote.status !== "PENDING" ? "uploaded" : job.state;
  update(job, { remote, state, urlAt: Date.now(), name: remote.file_name });
  if (job.id === hashId()) drawJobView(job);
  if (statusOf(job) === before) return;
  if (before) announceStatus(job);
  wakePolling(); // where something moved, more may follow soon
}

function miss(job) {
  if (!job.visited) return update(job, { state: "error", message: "This file is no longer kept." });
  $("job-title").textContent = "There is no such file. It may have expired.";
  dropRow(job);
}

// --- The form

const byteLength = (text) => new TextEncoder().encode(text).length;

/** Why a file cannot be sent, or "". */
function fileProblem({ name, size, isFolder }) {
  if (isFolder) return "This is a folder. Drop the files that are in it.";
  if (!limits) return "";
  const { file_types: types, max_file_bytes: most } = limits;
  if (!types.some((type) => name.toLowerCase().endsWith(type))) return `Only ${types.join(", ")} files can be sent.`;
  return size > most ? `Larger than ${formatBytes(most)}.` : "";
}

/** Why a text cannot be sent, or "". */
function textProblem(text) {
  const excess = limits ? byteLength(text) - limits.max_text_bytes : 0;
  if (excess > 0) return `The text is ${formatBytes(excess)} too long.`;
  const broken = /\p{Surrogate}/u.test(text); // half a character, which UTF-8 cannot carry
  return broken ? "The text has a broken character (half an emoji, perhaps). Type it again." : "";
}

function choose(files) {
  chosen.push(...files);
  $("file").value = ""; // so that choosing the same file again is a change
  $("alert").textContent = "";
  drawChosen();
}

function drawChosen() {
  $("chosen").replaceChildren(...chosen.map(chosenRow));
  const good = chosen.filter((file) => !fileProblem(file)).length;
  $("submit").textContent = good > 1 ? `Append to ${good} files` : "Append";
}

function chosenRow(file) {
  const row = fromTemplate("chosen-row");
  const [name, size, button, note] = row.children;
  const problem = fileProblem(file);
  name.textContent = file.name;
  size.textContent = formatBytes(file.size);
  note.textContent = problem || (file.size ? "" : "This file is empty: the result will be just the text.");
  note.className = problem ? "note error" : "note warning";
  button.setAttribute("aria-label", `Do not send ${file.name}`);
  button.onclick = () => unchoose(file);
  return row;
}

function unchoose(file) {
  const index = chosen.indexOf(file);
  chosen.splice(index, 1);
  drawChosen();
  focusFirst($("chosen").children[Math.min(index, chosen.length - 1)]?.querySelector("button"), $("file"));
}

function drawCounter() {
  if (!limits) return;
  const [used, most] = [byteLength($("text").value), limits.max_text_bytes];
  $("counter").textContent = used > 0.8 * most ? `${formatBytes(used)} of ${formatBytes(most)}` : "";
  $("counter").classList.toggle("error", used > most);
}

async function loadLimits() {
  limits ??= await api("limits");
  const { file_types: types, max_file_bytes: most, retention_days: days } = limits;
  $("file").accept = types.join();
  const kept = days === 1 ? "a day" : `${days} days`;
  $("file-rule").textContent = `${types.join(", ")} up to ${formatBytes(most)} each. Deleted after ${kept}.`;
  notify("");
  drawChosen();
  drawCounter();
}

async function submit(event) {
  event.preventDefault();
  $("alert").textContent = "";
  if (!limits) await loadLimits().catch(() => {}); // without them it is the API that says no
  const text = $("text").value;
  const files = chosen.filter((file) => !fileProblem(file));
  const problem = files.length ? textProblem(text) : "Choose at least one file.";
  if (!problem) return start(files, text);
  $("alert").textContent = problem;
  $(files.length ? "text" : "file").focus();
}

/** Sends the good files. The bad ones and the text stay: nothing typed is thrown away. */
function start(files, text) {
  const shared = { text, textBytes: byteLength(text) };
  const add = (file, index) => addJob({ ...shared, file, name: file.name, size: file.size, added: Date.now() - index });
  const added = files.map(add);
  $("list").prepend(...added.map(({ row }) => row)); // in their order, also after a reload
  added.forEach(enqueue);
  chosen = chosen.filter(fileProblem);
  drawChosen();
  announce({ name: files.map(({ name }) => name).join(", ") }, "uploading");
  $("list").firstElementChild.scrollIntoView({ block: "nearest" });
}

// --- One job's own view

const hashId = () => /^#([\w-]{12,64})$/.exec(location.hash)?.[1];
let lastJob;

function route(event) {
  const id = hashId();
  document.body.dataset.view = id ? "job" : "list";
  document.title = "Addendum";
  allJobs().filter((job) => job.visited && job.id !== id).forEach(dropRow);
  if (id) enterJob(id);
  allJobs().forEach((job) => job.row.classList.toggle("current", job.id === id));
  if (event) focusFirst(id && $("job-title"), lastJob?.row.querySelector(".name"), $("jobs-title"), $("file"));
}

function enterJob(id) {
  lastJob = allJobs().find((job) => job.id === id) ?? addJob({ id, visited: true, state: "uploaded" });
  drawJobView(lastJob);
  wakePolling();
}

function drawJobView(job) {
  drawJob(job);
  $("job-title").textContent = job.name ?? "Looking for the file";
  if (job.name) document.title = `${job.name} - Addendum`;
  if (statusOf(job) === "SUCCEEDED" && job.row.querySelector(".preview").hidden) peek(job);
}

// --- What is said

const NEWS = { PENDING: "waiting for a machine", RUNNING: "running", SUCCEEDED: "done", FAILED: "failed" };
const announceStatus = (job) => announce(job, NEWS[statusOf(job)] ?? statusOf(job));
const unsaid = [];

/** Tells screen readers. What comes together is said together. */
function announce({ name }, what) {
  if (!unsaid.length) setTimeout(() => ($("status").textContent = unsaid.splice(0).join(". ")), 400);
  unsaid.push(`${name}: ${what}`);
}

const notify = (message) => write($("notice"), message);

// --- Wiring

/** Files may be dropped anywhere, and whatever is dropped, the browser must not leave for it. */
function onDrag(event) {
  const { type, target, dataTransfer, relatedTarget } = event;
  const hasFiles = dataTransfer.types.includes("Files");
  if (!hasFiles && target === $("text")) return; // where text belongs
  event.preventDefault();
  const isOver = type === "dragover" || (type === "dragleave" && Boolean(relatedTarget));
  document.body.classList.toggle("dragging", hasFiles && isOver);
  if (type === "drop") drop([...dataTransfer.items].filter(({ kind }) => kind === "file"));
}

function drop(items) {
  if (!items.length) return ($("alert").textContent = "Only files can be dropped here.");
  if (hashId()) location.hash = "";
  const isFolder = (item) => item.webkitGetAsEntry()?.isDirectory;
  choose(items.map((item) => Object.assign(item.getAsFile(), { isFolder: isFolder(item) })));
}

$("compose").onsubmit = submit;
$("compose").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
};
$("text").oninput = drawCounter;
$("file").onchange = () => choose($("file").files);
window.ondragover = window.ondragleave = window.ondrop = onDrag;
window.onhashchange = route;
window.onbeforeunload = onBeforeUnload;
window.ononline = window.onpageshow = document.onvisibilitychange = wakePolling;
setInterval(() => allJobs().forEach(drawJob), 1000);
restoreAll();
route();
loadLimits().catch((problem) => notify(problem.message));
