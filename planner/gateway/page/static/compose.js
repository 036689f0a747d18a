// The prompt box: the parameters of the chosen model, and what is sent of them.

import { ask, imagePath } from "./api.js";
import { $, el, say, speak } from "./dom.js";

const MAX_PREVIEWS = 3; // as many as a job may have
const DRAFT = "ladle.draft";
const NUMBERS = ["n", "num_inference_steps", "guidance_scale", "seed", "deadline_s"];
// What the Python API takes where a request says nothing; a model's own defaults come before them.
const UNSAID = { size: "64x64", num_inference_steps: 8, guidance_scale: 2 };

const form = $("#order");
let models = {};
let source = null; // of a variation: { job, index }
let submitted = () => {};

export function startComposing(session, whenSubmitted) {
  models = session.models;
  submitted = whenSubmitted;
  form.model.replaceChildren(...Object.keys(models).map((name) => el("option", { value: name }, name)));
  form.n.max = session.limits.images;
  form.num_inference_steps.max = session.limits.image_steps;
  form.priority.options[0].disabled = !session.may_high;
  fill(JSON.parse(localStorage.getItem(DRAFT) ?? "{}"));
  form.addEventListener("input", keepDraft);
  form.model.addEventListener("change", showDefaults);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    }
  });
  $("#varied button").addEventListener("click", () => startFrom(null));
}

// Offer the adapters that nodes have.
export function offerAdapters(names) {
  const list = $("#adapter-names");
  if (list.dataset.names === names.join()) return;
  list.dataset.names = names.join();
  list.replaceChildren(...names.map((name) => el("option", { value: name })));
}

// Put the parameters of an earlier image into the form, and perhaps start from that image.
export function compose(fields, from = null) {
  fill(fields);
  startFrom(from);
  keepDraft();
  form.prompt.focus();
  form.scrollIntoView({ block: "start" });
}

function fill(fields) {
  form.reset();
  for (const [name, value] of Object.entries(fields)) {
    if (!(name in form.elements) || name === "strength") continue;
    form.elements[name].value = name === "adapters" && typeof value === "object" ? adaptersText(value) : value;
  }
  if (!form.model.value) form.model.selectedIndex = 0;
  const shown = ["size", "num_inference_steps", "guidance_scale", "seed", "adapters", "negative_prompt", "deadline_s"];
  $("#more").open ||= shown.some((name) => form.elements[name].value !== "");
  showDefaults();
}

// "sketch:0.8, pixel" and what the gateway takes for it.
function adaptersOf(text) {
  return text.split(",").map((one) => one.trim()).filter(Boolean).map((one) => {
    const [name, weight] = one.split(":");
    return { name: name.trim(), weight: weight === undefined ? 1 : Number(weight) };
  });
}

export function adaptersText(weights) {
  return Object.entries(weights).map(([name, weight]) => (weight === 1 ? name : `${name}:${weight}`)).join(", ");
}

function showDefaults() {
  const defaults = { ...UNSAID, ...models[form.model.value] };
  for (const name of Object.keys(UNSAID)) form.elements[name].placeholder = defaults[name];
  form.negative_prompt.placeholder = defaults.negative_prompt ?? "negative prompt";
}

function startFrom(from) {
  source = from;
  const line = $("#varied");
  line.hidden = !from;
  if (!from) return;
  $("img", line).src = imagePath(from.job, from.index);
  form.seed.value = "";
}

function keepDraft() {
  localStorage.setItem(DRAFT, JSON.stringify(given()));
}

// The fields that are filled in; all others are left to the model.
function given() {
  const fields = {};
  for (const name of ["prompt", "model", "size", "priority", "adapters", "negative_prompt", ...NUMBERS]) {
    const text = form.elements[name].value.trim();
    if (text !== "") fields[name] = NUMBERS.includes(name) ? Number(text) : text;
  }
  return fields;
}

async function send() {
  const fields = given();
  problem("");
  if (!fields.prompt) {
    problem("Say what to draw.", "prompt");
    return;
  }
  const sent = { ...fields, partial_images: MAX_PREVIEWS };
  if (fields.adapters) sent.adapters = adaptersOf(fields.adapters);
  const button = $("button[type=submit]", form);
  button.disabled = true;
  try {
    const answer = source
      ? await ask("POST", "/page/vary", { ...sent, strength: Number(form.strength.value), from: source })
      : await ask("POST", "/jobs", sent);
    speak("Submitted.");
    submitted(answer.job, fields);
  } catch (error) {
    problem(error.message, error.param);
  } finally {
    button.disabled = false;
  }
}

function problem(text, param) {
  say($("#order-problem"), text);
  for (const field of form.elements) field.removeAttribute("aria-invalid");
  const field = param && form.elements[param];
  if (!field || !field.focus) return;
  if (field.closest("details")) $("#more").open = true;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}
