/**
 * Draws jobs. `drawJob` brings a row in line with its job. Every text that users typed (names, contents, errors that
 * quote them) goes in through `textContent`.
 */

import { serverNow } from "./transfer.js";

const PREVIEW_LINES = 12;
const LONG_UPLOAD = 3000; // ms; a shorter one ends before anyone could read its speed
const STEPS = { queued: -1, uploading: 0, PENDING: 1, RUNNING: 2, SUCCEEDED: 4 };

/** 1536 -> "1.5 KB" */
export function formatBytes(bytes) {
  if (bytes === 1) return "1 byte";
  const power = bytes < 1024 ? 0 : Math.min(3, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${Number(value.toFixed(value < 100 ? 1 : 0))} ${["bytes", "KB", "MB", "GB"][power]}`;
}

function formatDuration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 59.5) return `${Number(seconds.toFixed(seconds < 9.95 ? 1 : 0))} s`;
  const minutes = Math.floor((seconds + 0.5) / 60);
  return `${minutes} min ${Math.round(seconds) % 60} s`;
}

const formatDate = (date) => new Date(date).toLocaleDateString([], { day: "numeric", month: "short" });

function formatRecent(date) {
  const time = new Date(date).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return formatDate(date) === formatDate(Date.now()) ? time : `${formatDate(date)}, ${time}`;
}

/** Whether leaving now would lose the upload. */
export const isSending = ({ state }) => ["queued", "uploading"].includes(state);

/** What a row shows: the API's word once the upload is through, our own before that. */
export const statusOf = ({ state, remote }) => (state === "uploaded" ? (remote?.status ?? "PENDING") : state);

export const fromTemplate = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

export const focusFirst = (...choices) => choices.find((choice) => choice?.checkVisibility())?.focus();

export function drawJob(job) {
  const { row } = job;
  const status = statusOf(job);
  const part = (name) => row.querySelector(`.${name}`);
  const { activeElement: focused } = document;
  row.hidden = !job.name; // someone else's job, not fetched yet
  Object.assign(row.dataset, { status, id: job.id ?? "" });
  write(part("name"), job.name ?? "");
  if (job.id) part("name").href = `#${job.id}`;
  else part("name").removeAttribute("href");
  write(part("meta"), describe(job, status));
  drawStages(job, part("stages"), status);
  write(part("message"), explain(job, status));
  part("sent").hidden = status !== "uploading";
  part("sent").value = job.sent / job.size || 0;
  drawActions(job, part, status);
  if (!row.contains(focused) || !focused.closest("[hidden]")) return;
  focusFirst(...["retry", "download", "name[href]", "cancel", "remove"].map(part));
}

/** Leaves equal text alone, so that a selection in it survives. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function describe(job, status) {
  const { remote } = job;
  const parts = job.size === undefined ? [] : [formatBytes(job.size)];
  const words = { queued: "next in line", cancelled: "cancelled", error: "not processed" };
  if (status === "uploading") parts.push(...describeUpload(job));
  else if (words[status]) parts.push(words[status]);
  else parts.push(formatRecent(remote?.finished_at ?? remote?.created_at ?? job.added));
  if (status === "FAILED") parts.push("failed");
  if (status === "SUCCEEDED") parts.push(`kept until ${formatDate(remote.expires_at * 1000)}`);
  return job.notice || parts.join(" · ");
}

function describeUpload({ size, sent, firstByteAt }) {
  if (sent >= size) return ["finishing"];
  const percent = `${Math.floor((100 * sent) / size)} % sent`;
  const elapsed = performance.now() - firstByteAt;
  if (!(elapsed > LONG_UPLOAD)) return [percent];
  const speed = sent / elapsed;
  const left = 1000 * Math.ceil((size - sent) / speed / 1000);
  return [percent, `${formatBytes(1000 * speed)}/s`, `${formatDuration(left)} left`];
}

/** How long each stage took in ms, NaN where nobody knows; a stage that still runs counts up to now. */
function stageTimes({ begunAt, uploadMs, lagMs, remote }) {
  const at = (name) => Date.parse(remote?.[name]);
  const [created, started, finished] = [at("created_at"), at("started_at"), at("finished_at")];
  const arrived = created + lagMs;
  const waited = (started || serverNow()) - arrived;
  const ran = (finished || serverNow()) - started;
  const total = finished - (lagMs === undefined ? created : arrived - uploadMs);
  return [uploadMs ?? performance.now() - begunAt, waited, ran, total];
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

function explain({ message, remote }, status) {
  if (status === "error") return message;
  return status === "FAILED" ? remote.error || "The job failed and left no reason." : "";
}

function drawActions(job, part, status) {
  const done = status === "SUCCEEDED";
  const sending = isSending(job);
  const retry = ["error", "FAILED", "cancelled"].includes(status) && job.file && !job.hopeless;
  const wanted = { peek: done, download: done, retry, cancel: sending, remove: !sending && !job.visited };
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
