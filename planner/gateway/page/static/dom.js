// Elements and words. Text always enters as text, never as HTML: prompts and names are foreign.

export const $ = (selector, within = document) => within.querySelector(selector);

// An element with properties (or attributes, where there is a dash in the name) and children.
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Let a list show these items. An element stays the same as long as its item is there, so that focus stays, too.
export function keyed(list, items, keyOf, make) {
  const known = (list.keyed ??= new Map());
  const keys = new Set(items.map(keyOf));
  for (const [key, entry] of known) {
    if (keys.has(key)) continue;
    entry.element.remove();
    known.delete(key);
  }
  let before = null;
  for (const item of items) {
    let entry = known.get(keyOf(item));
    if (!entry) known.set(keyOf(item), (entry = make(item)));
    entry.update?.(item);
    const place = before ? before.nextSibling : list.firstChild;
    if (place !== entry.element) list.insertBefore(entry.element, place);
    before = entry.element;
  }
}

export function seconds(value) {
  if (value < 0.95) return `${Math.max(value, 0).toFixed(1)} s`;
  if (value < 9.95) return `${value.toFixed(1).replace(/\.0$/, "")} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 129600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

export function figure(value) {
  return value >= 100 ? String(Math.round(value)) : Number(value.toPrecision(3)).toString();
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

// A hue that is always the same for the same name.
export function hue(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return (hash * 137) % 360;
}

// Unix seconds of the gateway's machine, whatever this machine's clock says.
let aheadSeconds = 0;
export const now = () => Date.now() / 1000 + aheadSeconds;
export function setClock(theirs) {
  aheadSeconds = theirs - Date.now() / 1000;
}

export const ago = (at) => `${seconds(Math.max(now() - at, 0))} ago`;

// Tell those who hear the page.
export function speak(text) {
  $("#spoken").textContent = text;
}

// Ask before something that cannot be taken back.
export function areYouSure(question, consequence) {
  const dialog = $("#sure");
  $("h2", dialog).textContent = question;
  $("p", dialog).textContent = consequence;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// A choice of priority for a job that waits; `set` is told the new one and returns a promise.
export function priorityChoice(label, mayHigh, set) {
  const option = (name) => el("option", { value: name, disabled: name === "high" && !mayHigh }, name);
  const choice = el("select", { className: "quiet", "aria-label": label }, ["high", "normal", "low"].map(option));
  choice.addEventListener("change", async () => {
    choice.disabled = true;
    await set(choice.value).catch((error) => speak(error.message));
    choice.disabled = false;
  });
  return choice;
}

// Show what a panel lacks in its place, or hide that.
export function lack(section, why) {
  const line = $(".lack", section);
  line.hidden = !why;
  say(line, why ?? "");
  section.classList.toggle("lacking", Boolean(why));
  return Boolean(why);
}
