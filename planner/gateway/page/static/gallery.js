// The caller's images with their parameters: again, vary, download. Without a ledger, those this browser remembers.

import { ask, imagePath } from "./api.js";
import { adaptersText } from "./compose.js";
import { $, ago, el, keyed, say, seconds } from "./dom.js";
import { remembered } from "./jobs.js";

const LABELS = {
  model: "Model",
  size: "Size",
  num_inference_steps: "Image steps",
  guidance_scale: "Guidance",
  seed: "Seed",
  n: "Images",
  negative_prompt: "Not to be seen",
  adapters: "Adapters",
  strength: "Change",
  priority: "Priority",
};

const drawn = new Map(); // by job
let compose = () => {};
let session = {};
let hasMore = false;
let hasLedger = true;

export async function startGallery(who, composeWith) {
  [session, compose] = [who, composeWith];
  $("#whose").hidden = !session.may_operate;
  $("#whose").addEventListener("change", () => {
    drawn.clear();
    load();
  });
  $("#older").addEventListener("click", () => load(Math.min(...[...drawn.values()].map((job) => job.created_at))));
  await load();
  if (session.may_operate && drawn.size === 0 && hasLedger) {
    $("#whose input[value=all]").checked = true;
    await load();
  }
}

const whose = () => $("#whose input:checked").value;

// A job of the caller is done: its images come first.
export async function addDrawn(job) {
  if (hasLedger) await load();
  else showRemembered();
}

async function load(before = null) {
  try {
    const older = before === null ? "" : `&before=${before}`;
    const answer = await ask("GET", `/page/gallery?whose=${whose()}${older}`);
    if (before !== null || drawn.size === 0) hasMore = answer.more;
    for (const job of answer.jobs) drawn.set(job.job, job);
    show();
  } catch (error) {
    hasLedger &&= error.code !== "no_ledger";
    if (!hasLedger) showRemembered();
  }
}

function showRemembered() {
  for (const [job, entry] of Object.entries(remembered())) {
    if (!entry.seeds?.length) continue;
    drawn.set(job, { job, mine: true, warnings: [], ...entry });
  }
  show();
}

function show() {
  const pictures = [...drawn.values()]
    .sort((a, b) => b.created_at - a.created_at)
    .flatMap((job) => job.seeds.map((seed, index) => ({ key: `${job.job}/${index}`, job, seed, index })));
  $("#gallery-empty").hidden = pictures.length > 0;
  $("#older").hidden = !hasMore;
  keyed($("#images"), pictures, (picture) => picture.key, tile);
}

function tile(picture) {
  const { job, index } = picture;
  const image = el("img", { src: imagePath(job.job, index), alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => element.classList.add("missing"), { once: true });
  const open = el("button", { type: "button", className: "open", "aria-label": `Show: ${job.fields.prompt}` }, image);
  open.addEventListener("click", () => view(picture, open));
  const caption = el("p", { className: "caption" }, job.fields.prompt);
  const element = el("li", {}, open, caption, el("div", { className: "actions" }, actions(picture)));
  return { element };
}

function actions({ job, seed, index }, done = () => {}) {
  const name = job.fields.prompt;
  const button = (text, label, act) => {
    const made = el("button", { type: "button", className: "quiet", "aria-label": `${label}: ${name}` }, text);
    made.addEventListener("click", () => {
      done();
      act();
    });
    return made;
  };
  const file = `${name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}-${seed}.png`;
  const fields = { ...job.fields, n: 1, seed };
  return [
    button("Again", "The same parameters again", () => compose(fields)),
    button("Vary", "Start from this image", () => compose({ ...fields, seed: "" }, { job: job.job, index })),
    el("a", { className: "button quiet", href: imagePath(job.job, index, "png"), download: file, "aria-label": `Download: ${name}` }, "Download"),
  ];
}

function view(picture, opener) {
  const { job, seed, index } = picture;
  const dialog = $("#viewer");
  const facts = Object.entries(LABELS)
    .filter(([name]) => job.fields[name] !== undefined && !(name === "n" && job.fields.n === 1))
    .map(([name, label]) => [label, { ...job.fields, seed }[name]])
    .map(([label, value]) => [label, typeof value === "object" ? adaptersText(value) : value]);
  if (job.node) facts.push(["Drawn by", job.node + (job.placer ? `, placed by ${job.placer}` : "")]);
  if (job.delay_s !== undefined) facts.push(["Took", seconds(job.delay_s)]);
  if (!job.mine) facts.push(["Owner", job.owner]);
  facts.push(["When", ago(job.created_at)], ["Job", job.job]);
  const close = el("button", { type: "button", className: "quiet" }, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(
    el("img", { src: imagePath(job.job, index, "png"), alt: job.fields.prompt }),
    el(
      "div",
      { className: "facts" },
      el("h2", { id: "viewer-title" }, job.fields.prompt),
      el("dl", {}, facts.map(([label, value]) => [el("dt", {}, label), el("dd", {}, String(value))])),
      (job.warnings ?? []).map((warning) => el("p", { className: "warning" }, warning)),
      el("div", { className: "actions" }, actions(picture, () => dialog.close()), close),
    ),
  );
  dialog.addEventListener("close", () => opener.focus(), { once: true });
  dialog.showModal();
}
