// The caller's jobs on their way: state, image step, time to come, cancel, priority.
//
// With a ledger in reach the stream says which jobs are open and what happens to them. Without one, and for a job that
// ends before the stream has seen it, the planner is asked about each job that this browser remembers.

import { ask, imagePath, jobPath } from "./api.js";
import { $, ago, el, keyed, now, plural, priorityChoice, say, seconds, speak } from "./dom.js";

const REMEMBERED = "ladle.jobs";
const MAX_REMEMBERED = 60;
const UNSEEN_AFTER_S = 1.5; // a job that is not in the stream by then is over, or the stream knows no jobs
const ASKED_AT_ONCE = 6;
const GONE_AFTER_MS = 1200;
const PRIORITIES = ["high", "normal", "low"]; // numbers on the wire
const ENDS = ["done", "failed", "cancelled", "expired", "refused", "unknown"];
const WORDS = { WAITING: "waiting", PLACED: "next on", RUNNING: "drawing on" };

const jobs = new Map(); // by id: what is known of a job
const over = new Set(); // ids of those that are not shown any more: late news brings none back
let session = {};
let finished = () => {};
let again = () => {};

export function startWatching(who, whenFinished, drawAgain) {
  session = who;
  finished = whenFinished;
  again = drawAgain;
  for (const [job, entry] of Object.entries(remembered())) {
    if (!entry.seeds && !entry.ended) jobs.set(job, { job, ...entry, ...entry.fields });
  }
  setInterval(tick, 500);
  setInterval(askAboutUnseen, 1000);
}

export function remembered() {
  return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
}

function remember(job, more) {
  const all = remembered();
  if (!all[job] && !more.fields) return;
  all[job] = { ...all[job], ...more };
  const newest = Object.entries(all).sort((a, b) => b[1].created_at - a[1].created_at);
  localStorage.setItem(REMEMBERED, JSON.stringify(Object.fromEntries(newest.slice(0, MAX_REMEMBERED))));
}

export function submittedJob(job, fields) {
  remember(job, { fields, created_at: now() });
  jobs.set(job, { job, ...jobs.get(job), ...fields, state: "WAITING", created_at: now(), fields });
  show();
}

// The open jobs as the stream lists them.
export function listOpen(listed) {
  for (const one of listed.filter((one) => !over.has(one.job))) jobs.set(one.job, { ...jobs.get(one.job), ...one, listed_at: now() });
  show();
}

// Something happened to a job.
export function take(event) {
  if (over.has(event.job)) return;
  const known = jobs.get(event.job) ?? { job: event.job, created_at: now() };
  const job = { ...known, ...event, heard_at: now() };
  if (event.eta_p50_s !== undefined) job.eta_at = now();
  if (event.priority !== undefined) job.priority = PRIORITIES[event.priority];
  if (event.kind === "waiting" || event.kind === "placed") job.step = undefined;
  if (!["waiting", "status"].includes(event.kind) || !event.reason) job.reason = event.reason;
  jobs.set(event.job, job);
  if (ENDS.includes(event.kind) && !known.ended) end(job);
  show();
}

function end(job) {
  job.ended = true;
  remember(job.job, { ended: true, seeds: job.seeds ?? (job.images ?? []).map((image) => image.seed), node: job.node });
  if (job.kind === "done") {
    speak(`Drawn: ${job.prompt ?? job.job}`);
    finished(job);
    setTimeout(() => forget(job.job), GONE_AFTER_MS);
  } else if (job.kind === "cancelled") {
    speak("Cancelled.");
    setTimeout(() => forget(job.job), GONE_AFTER_MS);
  } else {
    speak(`Failed: ${job.reason ?? job.failure?.message ?? job.kind}`);
  }
}

function forget(job) {
  over.add(job);
  jobs.delete(job);
  show();
}

async function askAboutUnseen() {
  const unseen = [...jobs.values()].filter(
    (job) => !job.ended && !job.asking && now() - Math.max(job.listed_at ?? job.created_at, job.asked_at ?? 0) > UNSEEN_AFTER_S,
  );
  for (const job of unseen.slice(0, ASKED_AT_ONCE)) {
    job.asking = true;
    job.asked_at = now();
    try {
      take({ ...(await ask("GET", jobPath(job.job))) });
    } catch (error) {
      if (error.status === 404) take({ job: job.job, kind: "unknown", reason: error.message });
    }
    const known = jobs.get(job.job);
    if (known) known.asking = false;
  }
}

const order = (job) => ({ RUNNING: 0, PLACED: 1, WAITING: 2 })[job.state] ?? 3;

function show() {
  const shown = [...jobs.values()].sort((a, b) => order(a) - order(b) || a.created_at - b.created_at);
  $("#open").hidden = shown.length === 0;
  const open = shown.filter((job) => !job.ended).length;
  say($("#open-count"), open ? String(open) : "");
  document.title = open ? `(${open}) Ladle` : "Ladle";
  keyed($("#open-jobs"), shown, (job) => job.job, card);
}

function tick() {
  for (const job of jobs.values()) job.update?.();
}

function card(first) {
  const preview = el("div", { className: "preview", "aria-hidden": "true" });
  const state = el("p", { className: "state" });
  const eta = el("p", { className: "eta" });
  const bar = el("progress", { max: 1 });
  const urgency = priorityChoice(`Priority of ${first.prompt ?? first.job}`, session.may_high, async (priority) => {
    say(problem, "");
    await ask("PATCH", jobPath(first.job), { priority }).then(take, (error) => say(problem, error.message));
  });
  const cancel = el("button", { type: "button", className: "quiet" }, "Cancel");
  const dismiss = el("button", { type: "button", className: "quiet", hidden: true }, "Dismiss");
  const redo = el("button", { type: "button", className: "quiet", hidden: true }, "Again");
  const title = el("h3", { className: "prompt" });
  const problem = el("p", { className: "problem", role: "alert" });
  const element = el(
    "li",
    { className: "card" },
    preview,
    el("div", { className: "facts" }, title, state, bar, eta, el("div", { className: "actions" }, urgency, cancel, redo, dismiss), problem),
  );
  cancel.addEventListener("click", async () => {
    cancel.disabled = true;
    try {
      await ask("DELETE", jobPath(first.job));
    } catch (error) {
      say(problem, error.message);
      cancel.disabled = false;
    }
  });
  dismiss.addEventListener("click", () => forget(first.job));
  redo.addEventListener("click", () => again(jobs.get(first.job)?.fields ?? { prompt: jobs.get(first.job)?.prompt }));

  function update(job) {
    job.update = () => update(job);
    say(title, job.prompt ?? job.job);
    cancel.setAttribute("aria-label", `Cancel ${job.prompt ?? job.job}`);
    element.dataset.state = job.ended ? job.kind : (job.state ?? "WAITING").toLowerCase();
    element.classList.toggle("queued", !job.ended && job.state !== "RUNNING");
    say(state, stateText(job));
    showProgress(bar, job);
    say(eta, job.ended ? "" : etaText(job));
    cancel.hidden = job.ended;
    urgency.hidden = job.ended || job.state !== "WAITING";
    if (urgency !== document.activeElement) urgency.value = job.priority ?? "normal";
    showPicture(preview, job);
    dismiss.hidden = redo.hidden = !job.ended || ["done", "cancelled"].includes(job.kind);
    if (job.ended && !dismiss.hidden) say(problem, job.reason ?? job.failure?.message ?? "");
  }
  return { element, update };
}

// The newest look at the image while it is drawn, then the image itself.
function showPicture(place, job) {
  const looks = job.preview && job.state === "RUNNING" ? `data:image/jpeg;base64,${job.preview}` : "";
  const source = job.kind === "done" ? imagePath(job.job, 0) : looks;
  if (place.dataset.source === source) return;
  place.dataset.source = source;
  place.replaceChildren(...(source ? [el("img", { src: source, alt: "" })] : []));
}

function stateText(job) {
  if (job.ended) return job.kind;
  const where = job.node && job.state !== "WAITING" ? ` ${job.node}` : "";
  const parts = [`${WORDS[job.state] ?? "submitted"}${where}`];
  if (job.state === "RUNNING" && job.image_steps) parts.push(`step ${job.step ?? 0} of ${job.image_steps}`);
  if (job.n > 1) parts.push(plural(job.n, "image"));
  if (job.priority && job.priority !== "normal" && job.state !== "WAITING") parts.push(`priority ${job.priority}`);
  if (job.state === "WAITING" && job.place) parts.push(`place ${job.place} by age`);
  if (job.state === "WAITING" && job.reason) parts.push(job.reason);
  return parts.join(" · ");
}

function showProgress(bar, job) {
  const isDrawing = job.state === "RUNNING" && job.image_steps;
  if (job.ended && job.kind === "done") bar.value = 1;
  else if (isDrawing) bar.value = (job.step ?? 0) / job.image_steps;
  else bar.removeAttribute("value");
  bar.hidden = job.ended && job.kind !== "done";
  bar.setAttribute("aria-label", isDrawing ? `Image step ${job.step ?? 0} of ${job.image_steps}` : "Waiting");
}

// The prediction counts down from when it was heard; where it was wrong, it says so rather than "0 s".
function etaText(job) {
  if (job.eta_p50_s === undefined || job.eta_at === undefined) return `submitted ${ago(job.created_at)}`;
  const passed = now() - job.eta_at;
  const [p50, p90] = [job.eta_p50_s - passed, job.eta_p90_s - passed];
  if (p90 <= 0) return "later than predicted";
  return `${p50 > 0 ? `about ${seconds(p50)}` : "any moment"}, 9 of 10 within ${seconds(p90)}`;
}
