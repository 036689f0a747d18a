// The page: who looks, the stream, and what it leads to.

import { ask, onSignedOut } from "./api.js";
import { compose, offerAdapters, startComposing } from "./compose.js";
import { $, now, say, seconds, setClock } from "./dom.js";
import { showDead, showNodes, showPolicy, showQueue, startFleet } from "./fleet.js";
import { addDrawn, startGallery } from "./gallery.js";
import { listOpen, startWatching, submittedJob, take } from "./jobs.js";
import { setLanes, startTimeline, takeBars } from "./timeline.js";

const THEMES = ["auto", "dark", "light"];
const RETRY_MS = 2000;

function startTheme() {
  const button = $("#theme");
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    say(button, `Theme: ${theme}`);
    localStorage.setItem("ladle.theme", theme);
  };
  const kept = () => localStorage.getItem("ladle.theme") ?? "auto";
  button.addEventListener("click", () => apply(THEMES[(THEMES.indexOf(kept()) + 1) % THEMES.length]));
  apply(kept());
}

async function whoLooks() {
  for (;;) {
    try {
      return await ask("GET", "/page/session");
    } catch (error) {
      if (error.status === 401) await signIn();
      else await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      connection("bad", error.status === 401 ? "signed out" : error.message);
    }
  }
}

function signIn() {
  const dialog = $("#sign-in");
  const form = $("form", dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", async function tryKey(event) {
      event.preventDefault();
      try {
        await ask("POST", "/page/session", { key: form.key.value });
      } catch (error) {
        say($(".problem", form), error.message);
        form.key.select();
        return;
      }
      form.removeEventListener("submit", tryKey);
      form.reset();
      dialog.close();
      resolve();
    });
  });
}

function connection(kind, text) {
  const pill = $("#connection");
  pill.dataset.kind = kind;
  say(pill, text);
}

function listen() {
  const stream = new EventSource("/page/live");
  const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
  let seen = {};
  on("now", (theirs) => {
    setClock(theirs);
    connection("good", "live");
  });
  on("job", take);
  on("queue", (view) => {
    showQueue(view);
    listOpen(view.jobs ?? []);
    seen = view;
    sayPlanner(seen);
  });
  on("nodes", (view) => {
    setLanes(view.nodes ?? []);
    showNodes(view);
    offerAdapters([...new Set((view.nodes ?? []).flatMap((node) => node.adapters))].sort());
  });
  on("timeline", takeBars);
  on("policy", showPolicy);
  on("dead", showDead);
  stream.addEventListener("error", () => {
    connection("bad", "reconnecting");
    if (stream.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(() => ask("GET", "/page/session").finally(listen).catch(() => {}), RETRY_MS); // signs out where it must
  });
}

function sayPlanner(view) {
  if (view.lack || view.planner_runs) connection("good", "live");
  else if (view.planner_seen_at) connection("bad", `no planner since ${seconds(now() - view.planner_seen_at)}`);
  else connection("bad", "no planner yet");
}

async function start() {
  startTheme();
  const session = await whoLooks();
  say($("#who"), session.signed_in ? session.name : "");
  $("#sign-out").hidden = !session.signed_in;
  $("#sign-out").addEventListener("click", async () => {
    await ask("DELETE", "/page/session");
    location.reload();
  });
  onSignedOut(() => location.reload());
  $("main").hidden = false;
  startComposing(session, submittedJob);
  startFleet(session);
  startTimeline();
  startWatching(session, addDrawn, compose);
  listen();
  await startGallery(session, compose);
  if (!matchMedia("(pointer: coarse)").matches) $("#prompt").focus();
}

start();
