// Who drew what: a lane for each node, a bar for each attempt of the last minutes.

import { $, ago, el, hue, keyed, lack, now, plural, say, seconds } from "./dom.js";

const WHOLE_SPAN_S = 600;
const LISTED = 20;

const bars = new Map(); // by key
let laneNames = [];

export function startTimeline() {
  $("#timeline fieldset").addEventListener("change", draw);
  setInterval(draw, 1000);
}

export function takeBars(news) {
  if (lack($("#timeline"), news.lack)) return;
  for (const [key, bar] of Object.entries(news.bars)) {
    if (bar.gone) bars.delete(key);
    else bars.set(key, { key, ...bar });
  }
  draw();
}

// The nodes there are, so that an idle one has a lane, too.
export function setLanes(nodes) {
  laneNames = nodes.map((node) => node.name);
}

const span = () => Number($("#timeline input:checked").value);

function draw() {
  const at = now();
  for (const [key, bar] of bars) if ((bar.ended ?? at) < at - WHOLE_SPAN_S) bars.delete(key);
  const shown = [...bars.values()].filter((bar) => (bar.ended ?? at) >= at - span());
  const names = [...new Set([...laneNames, ...shown.map((bar) => bar.node)])].sort();
  keyed($("#lanes"), names.map((name) => ({ name, bars: shown.filter((bar) => bar.node === name) })), (one) => one.name, lane);
  legend(shown);
  if ($("#as-list").open) list(shown);
}

function lane({ name }) {
  const said = el("span", { className: "unseen" });
  const track = el("div", { className: "bars", "aria-hidden": "true" });
  const element = el("div", { className: "lane" }, el("span", { className: "name" }, name), said, track);
  const update = (one) => {
    const at = now();
    const busy = one.bars.reduce((sum, bar) => sum + Math.min((bar.ended ?? at) - Math.max(bar.began, at - span()), span()), 0);
    say(said, `${plural(one.bars.length, "attempt")} in ${seconds(span())}, busy ${Math.round((100 * busy) / span())} %`);
    keyed(track, one.bars, (bar) => bar.key, makeBar);
  };
  return { element, update };
}

function makeBar(first) {
  const element = el("span", {});
  const update = (bar) => {
    const [at, wide] = [now(), span()];
    const left = Math.max(bar.began, at - wide);
    element.style.left = `${(100 * (left - (at - wide))) / wide}%`;
    element.style.width = `${(100 * Math.max((bar.ended ?? at) - left, 0)) / wide}%`;
    element.className = ["bar", bar.mine ? "mine" : bar.owner ? "known" : "", bar.ended ? "" : "now", bar.result && bar.result !== "done" ? "bad" : ""].join(" ");
    if (bar.owner && !bar.mine) element.style.setProperty("--hue", hue(bar.owner));
    element.title = describe(bar);
  };
  update(first);
  return { element, update };
}

function describe(bar) {
  const who = bar.mine ? "mine" : (bar.owner ?? "somebody else's");
  const took = seconds((bar.ended ?? now()) - bar.began);
  const how = bar.ended === null ? `drawing since ${took}` : `${bar.result}, ${took}, ${ago(bar.ended)}`;
  return [bar.prompt, who, `on ${bar.node}`, how].filter(Boolean).join(" · ");
}

function legend(shown) {
  const owners = [...new Set(shown.filter((bar) => !bar.mine && bar.owner).map((bar) => bar.owner))].slice(0, 8);
  const entries = [
    shown.some((bar) => bar.mine) ? ["mine", "mine", null] : null,
    ...owners.map((owner) => [owner, "known", hue(owner)]),
    shown.some((bar) => !bar.mine && !bar.owner) ? ["others", "", null] : null,
    shown.some((bar) => bar.result && bar.result !== "done") ? ["not done", "bad", null] : null,
  ].filter(Boolean);
  keyed($("#legend"), entries, (entry) => entry.join(), ([text, kind, colour]) => {
    const swatch = el("i", { className: `bar ${kind}` });
    if (colour !== null) swatch.style.setProperty("--hue", colour);
    return { element: el("span", {}, swatch, text) };
  });
}

function list(shown) {
  const newest = shown.sort((a, b) => b.began - a.began).slice(0, LISTED);
  keyed($("#as-list ol"), newest, (bar) => bar.key, () => {
    const element = el("li", {});
    return { element, update: (bar) => say(element, describe(bar)) };
  });
}
