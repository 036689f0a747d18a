// What the whole fleet does: queue, nodes, policy, dead letters. Buttons that only an operator may use are not shown to others.

import { ask, jobPath } from "./api.js";
import { $, ago, areYouSure, el, figure, keyed, lack, now, plural, priorityChoice, say, seconds, speak } from "./dom.js";

const PAUSE_S = 3600; // a game, a film: who wants another time has `ladle pause --for`

let session = {};
let nodes = [];

export function startFleet(who) {
  session = who;
  setInterval(tick, 1000);
}

function command(text, label, act, className = "quiet") {
  const button = el("button", { type: "button", className, "aria-label": label }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      speak(error.message);
      button.closest("li, .body")?.append(el("p", { className: "problem", role: "alert" }, error.message));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

// Queue

const STATES = { WAITING: "waiting", PLACED: "at a node", RUNNING: "drawing" };

export function showQueue(view) {
  const section = $("#queue");
  if (lack(section, view.lack)) return;
  const line = (label, counts) => [
    el("dt", {}, label),
    Object.entries(STATES).map(([state, word]) => el("dd", {}, el("b", {}, String(counts[state] ?? 0)), ` ${word}`)),
  ];
  $("dl", section).replaceChildren(...line("Mine", view.mine).flat(), ...line("Others'", view.others).flat());
  keyed($("#others"), view.others_jobs, (job) => job.job, otherJob);
}

function otherJob(first) {
  const text = el("span", {});
  const cancel = command("Cancel", `Cancel ${first.prompt} of ${first.owner}`, () => ask("DELETE", jobPath(first.job)));
  const urgency = priorityChoice(`Priority of ${first.prompt} of ${first.owner}`, session.may_high, (priority) =>
    ask("PATCH", jobPath(first.job), { priority }),
  );
  const element = el("li", {}, text, el("span", { className: "actions" }, urgency, cancel));
  const update = (job) => {
    const where = job.node ? `${job.state === "RUNNING" ? "drawing on" : "next on"} ${job.node}` : "waiting";
    say(text, `${job.owner}: ${job.prompt} · ${where}`);
    urgency.hidden = job.state !== "WAITING";
    if (urgency !== document.activeElement) urgency.value = job.priority;
  };
  return { element, update };
}

// Nodes

export function showNodes(view) {
  if (lack($("#nodes"), view.lack)) return;
  nodes = view.nodes;
  if (nodes.length === 0) lack($("#nodes"), "No node has reported yet: start one with `ladle worker --node NAME`.");
  keyed($("#node-list"), nodes, (node) => node.name, nodeCard);
  tick();
}

function tick() {
  const longest = Math.max(5, ...nodes.map((node) => (node.free_at ?? 0) - now()));
  for (const node of nodes) node.showBacklog?.(longest);
}

function nodeCard() {
  const name = el("h3", {});
  const state = el("span", { className: "pill" });
  const device = el("span", { className: "device" });
  const bar = el("span", { className: "fill" });
  const backlog = el("p", { className: "backlog" });
  const estimates = el("ul", { className: "estimates" });
  const memory = el("p", { className: "memory" });
  const notes = el("div", { className: "notes" });
  const drain = el("div", { className: "actions" });
  const head = el("div", { className: "head" }, name, state, device, drain);
  const track = el("div", { className: "track", "aria-hidden": "true" }, bar);
  const element = el("li", { className: "node" }, head, track, backlog, estimates, memory, notes);

  function update(node) {
    say(name, node.name);
    say(state, node.state.toLowerCase());
    element.dataset.state = node.state;
    say(device, [node.device, node.emulated && "emulated"].filter(Boolean).join(" · "));
    device.title = node.emulated;
    estimates.replaceChildren(...node.estimates.map(estimate));
    say(memory, inMemory(node));
    const drifts = node.drift.map((drift) => `Drift: ${drift.model} took ${figure(drift.factor)} times as long, since ${ago(drift.since)}`);
    const pause = node.drained_until && `Paused until ${new Date(node.drained_until * 1000).toLocaleTimeString([], { timeStyle: "short" })}`;
    notes.replaceChildren(...[...drifts, pause, node.note].filter(Boolean).map((text) => el("p", { className: "warning" }, text)));
    showCommand(drain, node);
    node.showBacklog = (longest) => {
      const left = node.free_at === null ? 0 : Math.max(node.free_at - now(), 0);
      bar.style.width = `${(100 * left) / longest}%`;
      const overdue = node.free_at !== null && left === 0;
      say(backlog, node.held ? `${plural(node.held, "job")}, ${overdue ? "later than predicted" : `${seconds(left)} of work`}` : "idle");
    };
  }
  return { element, update };
}

function estimate({ model, s_per_unit, spread }) {
  const sure = spread === null ? "first guess" : `± ${Math.round(spread * 100)} %`;
  return el("li", {}, el("b", {}, model), ` ${figure(s_per_unit)} s per megapixel step `, el("i", {}, sure));
}

const gib = (mib) => (mib / 1024).toFixed(1);

function inMemory(node) {
  const adapters = node.loaded_adapters.length ? `, adapters ${node.loaded_adapters.join(", ")}` : "";
  const free = node.memory_mib ? ` · ${gib(node.memory_free_mib ?? 0)} of ${gib(node.memory_mib)} GiB free` : "";
  return (node.resident.length ? `In memory: ${node.resident.join(", ")}${adapters}` : "No model in memory") + free;
}

function showCommand(place, node) {
  if (!session.may_operate || node.state === "GONE") {
    place.replaceChildren();
    return;
  }
  const shown = `${node.draining} ${node.drained_until}`;
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  const path = `/page/nodes/${encodeURIComponent(node.name)}/drain`;
  const order = (text, label, body) => command(text, label, () => ask("POST", path, body));
  place.replaceChildren(
    ...(node.draining
      ? [order("Use again", `Give jobs to ${node.name} again`, { on: false })]
      : [
          order("Pause 1 h", `Give no jobs to ${node.name} for an hour`, { on: true, for_s: PAUSE_S }),
          order("Drain", `Give no more jobs to ${node.name}`, { on: true }),
        ]),
  );
}

// Policy

export function showPolicy(view) {
  if (lack($("#policy"), view.lack)) return;
  const serving = view.versions.find((one) => one.state === "PROMOTED");
  const total = view.deciders.reduce((sum, one) => sum + one.attempts, 0);
  const deciders = view.deciders.map((one) =>
    el("li", {}, el("b", {}, one.version || one.placer), one.version ? ` (${one.placer})` : "", ` decided ${Math.round((100 * one.attempts) / total)} % of the last ${plural(total, "placement")}`),
  );
  $("#policy .body").replaceChildren(
    el("p", {}, serving ? ["Serving: ", el("b", {}, serving.version), `, promoted ${ago(serving.promoted_at)}`] : "Serving: the policy of the planner's settings; no version was promoted."),
    el("ul", { className: "rows" }, deciders),
    delays(view),
    serving && session.may_operate ? el("div", { className: "actions" }, rollBack(serving)) : "",
    ...view.versions.map(version),
  );
}

function delays({ before, since }) {
  if (!before || !since) return "";
  const change = Math.round(100 * (since.over_predicted / before.over_predicted - 1));
  const row = (label, side) =>
    el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, seconds(side.mean_s)), el("td", {}, figure(side.over_predicted)), el("td", {}, String(side.jobs)));
  const head = ["", "mean delay", "delay / predicted", "jobs"].map((text) => el("th", { scope: "col" }, text));
  return el(
    "table",
    {},
    el("caption", {}, `Since its promotion, for equal work ahead: ${change > 0 ? "+" : ""}${change} % delay`),
    el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, row("before", before), row("since", since)),
  );
}

function rollBack(serving) {
  return command("Roll back", `Roll back ${serving.version}`, async () => {
    const sure = await areYouSure(`Roll back ${serving.version}?`, "It is rejected, and the policy before it decides from now on.");
    if (sure) speak(`${(await ask("POST", "/page/policy/rollback", {})).rejected} is rejected.`);
  });
}

function version(row) {
  const { passed, jobs, ...rivals } = row.trial ?? {};
  const verdict = row.trial ? ` · gate ${passed ? "passed" : "not passed"}, ${jobs} held-out jobs` : "";
  const head = ["against", "this", "that", "ratio", "95 % interval"].map((text) => el("th", { scope: "col" }, text));
  const rows = Object.entries(rivals).map(([rival, one]) =>
    el("tr", {}, el("th", { scope: "row" }, rival), [seconds(one.candidate_s), seconds(one.rival_s), one.ratio.toFixed(3), `${one.low.toFixed(3)} to ${one.high.toFixed(3)}`].map((text) => el("td", {}, text))),
  );
  return el(
    "details",
    { className: "version" },
    el("summary", {}, el("span", { className: "pill", "data-state": row.state }, row.state.toLowerCase()), ` ${row.version}${verdict}`),
    el("p", {}, row.reason),
    rows.length ? el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)) : "",
  );
}

// Dead letters

export function showDead(view) {
  if (lack($("#dead"), view.lack)) return;
  if (view.count === 0) lack($("#dead"), "None: every message was understood.");
  keyed($("#letters"), view.letters, (letter) => letter.id, letterRow);
}

function letterRow(letter) {
  const path = `/page/dead/${letter.id}`;
  const body = el("pre", {});
  const drop = command("Drop", `Drop dead letter ${letter.id}`, async () => {
    if (await areYouSure(`Drop letter ${letter.id}?`, "It is deleted for good.")) await ask("DELETE", path);
  });
  const about = [letter.queue, letter.jobs.join(", "), `${letter.bytes} bytes`, ago(letter.received_at)].filter(Boolean).join(" · ");
  const details = el("details", {}, el("summary", {}, letter.reason), el("p", {}, about), body, el("div", { className: "actions" }, drop));
  details.addEventListener("toggle", async () => {
    if (!details.open || body.textContent) return;
    const whole = await ask("GET", path).catch((error) => ({ body: error.message, headers: {} }));
    body.textContent = `${JSON.stringify(whole.headers, null, 1)}\n\n${whole.body}`;
  });
  return { element: el("li", {}, details) };
}
