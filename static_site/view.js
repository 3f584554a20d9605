/**
 * Draws jobs. `drawJob` brings a row in line with its job, whatever the row showed before. Every text that users
 * typed (names, contents, errors that quote them) goes in through `textContent`.
 */

import { serverNow } from "./transfer.js";

const PREVIEW_LINES = 12; // of the file, before the appended text
const LONG_UPLOAD = 3000; // ms; a shorter one ends before anyone could read its speed
const STEPS = { queued: -1, uploading: 0, PENDING: 1, RUNNING: 2, SUCCEEDED: 4 };

/** 1536 -> "1.5 KB", in the 1024 units that file managers show. */
export function formatBytes(bytes) {
  if (bytes === 1) return "1 byte";
  const power = bytes < 1024 ? 0 : Math.min(3, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${Number(value.toFixed(value < 100 ? 1 : 0))} ${["bytes", "KB", "MB", "GB"][power]}`;
}

/** 400 -> "0.4 s", 75000 -> "1 min 15 s". */
function formatDuration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 59.5) return `${Number(seconds.toFixed(seconds < 9.95 ? 1 : 0))} s`;
  const minutes = Math.floor((seconds + 0.5) / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds) % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const formatDate = (date) => new Date(date).toLocaleDateString([], { day: "numeric", month: "short" });

function formatRecent(date) {
  const time = new Date(date).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return formatDate(date) === formatDate(Date.now()) ? time : `${formatDate(date)}, ${time}`;
}

/** What a row shows: the API's word once the upload is through, our own before that. */
export const statusOf = ({ state, remote }) => (state === "uploaded" ? (remote?.status ?? "PENDING") : state);

/** A copy of a template's only element. */
export const fromTemplate = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** Focuses the first of the choices that is there to take it. */
export const focusFirst = (...choices) =>
  choices.some((choice) => {
    choice?.focus();
    return choice && choice === document.activeElement;
  });

export function drawJob(job) {
  const { row } = job;
  const status = statusOf(job);
  const part = (name) => row.querySelector(`.${name}`);
  const focused = row.contains(document.activeElement) && document.activeElement;
  row.hidden = !job.name; // someone else's job, not fetched yet
  row.dataset.status = status;
  row.dataset.id = job.id ?? "";
  write(part("name"), job.name ?? "");
  if (job.id) part("name").href = `#${job.id}`;
  else part("name").removeAttribute("href");
  write(part("meta"), describe(job, status));
  drawStages(job, part("stages"), status);
  drawMessage(job, part("message"), status);
  drawProgress(job, part("sent"), status);
  drawActions(job, part, status);
  if (focused && focused.closest("[hidden]")) focusFirst(...["retry", "download", "name", "cancel", "remove"].map(part));
}

/** Leaves equal text alone, so that a selection in it survives. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function describe(job, status) {
  const { remote } = job;
  const parts = job.size === undefined ? [] : [formatBytes(job.size)];
  if (status === "queued") parts.push("next in line");
  else if (status === "uploading") parts.push(...describeUpload(job));
  else if (status === "cancelled") parts.push("cancelled");
  else if (status === "error") parts.push("not processed");
  else parts.push(formatRecent(remote?.finished_at ?? remote?.created_at ?? job.added));
  if (status === "SUCCEEDED") parts.push(`kept until ${formatDate(remote.expires_at * 1000)}`);
  return job.notice || parts.join(" · ");
}

function describeUpload({ elsewhere, size, sent, samples, begunAt }) {
  if (elsewhere) return ["in another tab"];
  if (sent >= size) return ["finishing"];
  const percent = `${Math.floor((100 * sent) / size)} % sent`;
  const [first, last] = [samples.at(0), samples.at(-1)];
  const speed = first === last ? 0 : (1000 * (last.sent - first.sent)) / (last.at - first.at);
  if (!speed || last.at - begunAt < LONG_UPLOAD) return [percent];
  const left = 1000 * Math.ceil((size - sent) / speed);
  return [percent, `${formatBytes(Math.round(speed))}/s`, `${formatDuration(left)} left`];
}

/** How long each stage took in ms, NaN where nobody knows; a stage that still runs counts up to now. */
function stageTimes({ begunAt, uploadMs, lagMs, remote }) {
  const [created, started, finished] = ["created_at", "started_at", "finished_at"].map((name) => Date.parse(remote?.[name]));
  const arrived = created + lagMs;
  const total = finished - (lagMs === undefined ? created : arrived - uploadMs);
  return [uploadMs ?? performance.now() - begunAt, (started || serverNow()) - arrived, (finished || serverNow()) - started, total];
}

function drawStages(job, list, status) {
  const [step, times] = [STEPS[status], stageTimes(job)];
  list.hidden = step === undefined;
  [...list.children].forEach((stage, index) => {
    const ms = index === step ? 1000 * Math.floor(times[index] / 1000) : times[index];
    const time = index <= step && !Number.isNaN(ms) ? formatDuration(ms) : "";
    stage.dataset.step = index < step ? "past" : index === step ? "now" : "ahead";
    stage.ariaCurrent = index === step ? "step" : null;
    write(stage.querySelector(".time"), time && index === 3 ? `in ${time}` : time);
  });
}

function drawMessage({ message, remote }, paragraph, status) {
  const messages = { error: message, FAILED: remote?.error || "The job failed and left no reason.", cancelled: "You cancelled this upload." };
  paragraph.hidden = !messages[status];
  paragraph.classList.toggle("error", status !== "cancelled");
  write(paragraph, messages[status] ?? "");
}

function drawProgress({ name, size, sent, elsewhere }, bar, status) {
  bar.hidden = status !== "uploading" || Boolean(elsewhere);
  bar.value = sent / size || 0;
  bar.ariaLabel = `Upload of ${name}`;
}

function drawActions(job, part, status) {
  const done = status === "SUCCEEDED";
  const sending = ["queued", "uploading"].includes(status);
  const retry = ["error", "FAILED", "cancelled"].includes(status) && job.file && !job.hopeless;
  const wanted = { peek: done, download: done, retry, cancel: sending && !job.elsewhere, remove: !sending && !job.visited };
  for (const [name, show] of Object.entries(wanted)) {
    part(name).hidden = !show;
    part(name).ariaLabel = `${part(name).title || part(name).textContent} ${job.name}`;
  }
  if (!done) part("preview").hidden = true;
  part("peek").ariaExpanded = !part("preview").hidden;
  part("download").href = job.remote?.download_url ?? `#${job.id}`;
}

/** Shows the end of a result; `added` is how many of its last bytes are the appended text, 0 if nobody knows. */
export function drawPreview(box, { bytes, total }, added) {
  const border = Math.max(0, bytes.length - added);
  const decode = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  const lines = decode(0, border).replace(/^\uFFFD+/, "").split("\n"); // the tail may begin inside a character
  const whole = lines.length <= PREVIEW_LINES && bytes.length === total;
  const mark = document.createElement("mark");
  const pre = box.querySelector("pre");
  mark.textContent = decode(border);
  pre.replaceChildren(lines.slice(-PREVIEW_LINES).join("\n"), mark);
  pre.scrollTop = pre.scrollHeight;
  const legend = `${whole ? "All" : "The end"} of the result (${formatBytes(total)})`;
  box.querySelector(".rule").textContent = added ? `${legend}, with your text marked` : legend;
}
