// The page is complete as it came; this keeps it up to date and lets people act on it.

const root = document.documentElement;
const connection = document.getElementById("connection");
const hiddenSeries = new Set();

// Live -----------------------------------------------------------------------

function listen() {
  const source = new EventSource(document.body.dataset.stream);
  source.addEventListener("open", () => say("live", "Live"));
  source.addEventListener("error", () => {
    say("lost", "Reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
  source.addEventListener("regions", (event) => {
    for (const [name, html] of Object.entries(JSON.parse(event.data))) replace(name, html);
    settle();
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

function say(state, text) {
  connection.dataset.state = state;
  connection.querySelector(".live-text").textContent = text;
}

function replace(name, html) {
  const region = document.getElementById(name);
  if (!region) return;
  const open = [...region.querySelectorAll("details[open]")].map((details) => details.id);
  const scrolled = [...region.querySelectorAll(".alerts, .scroll")].map((box) => box.scrollTop);
  const focused = region.contains(document.activeElement) ? pathTo(document.activeElement) : null;
  region.innerHTML = html;
  if (name === "models" && !document.body.dataset.model && region.querySelector("a")) location.reload();
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  region.querySelectorAll(".alerts, .scroll").forEach((box, index) => {
    box.scrollTop = scrolled[index] ?? 0;
  });
  if (focused) find(region, focused)?.focus({ preventScroll: true });
}

// Where the focus was: an id of its own, else the nth of its kind inside the nearest id.
function pathTo(element) {
  if (element.id) return { id: element.id };
  const home = element.closest("[id]");
  const kind = element.tagName.toLowerCase();
  return { id: home.id, kind, nth: [...home.querySelectorAll(kind)].indexOf(element) };
}

function find(region, path) {
  const home = document.getElementById(path.id) ?? region;
  return path.kind ? home.querySelectorAll(path.kind)[path.nth] : home;
}

// After new HTML came: times in the reader's zone, links to events that are not on the page.
function settle() {
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const date = { day: "numeric", month: "short", year: "numeric" };
  for (const time of document.querySelectorAll("time[data-clock]:not([data-set]), time[data-moment]:not([data-set])")) {
    const moment = new Date(time.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    const hours = moment.toLocaleTimeString("en-GB", clock);
    const withDate = "moment" in time.dataset && !today;
    time.textContent = withDate ? `${moment.toLocaleDateString("en-GB", date)}, ${hours}` : hours;
    time.title = `${time.dateTime} (wall clock)`;
    time.dataset.set = "";
  }
  for (const link of document.querySelectorAll("a.event-link[data-event]")) {
    const away = !targetOf(link.dataset.event);
    link.classList.toggle("away", away);
    link.title = away ? `Event ${link.dataset.event}, not on this page` : `Event ${link.dataset.event}`;
  }
  for (const color of hiddenSeries) showSeries(color, false);
  tick();
}

function tick() {
  for (const time of document.querySelectorAll("time[data-since]")) {
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const minutes = Math.floor(seconds / 60);
    time.textContent = minutes
      ? `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`
      : `${seconds.toFixed(0)} s`;
  }
}

// Links to events ------------------------------------------------------------

const targetOf = (id) => document.getElementById(`e-${id}`) ?? document.getElementById(`turn-${id}`);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.event-link[data-event]");
  if (!link) return;
  const target = targetOf(link.dataset.event);
  event.preventDefault();
  if (target) reveal(target);
});

function reveal(target) {
  for (let box = target; box; box = box.parentElement.closest("details")) {
    if (box.tagName === "DETAILS") box.open = true;
  }
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  target.classList.remove("lit");
  requestAnimationFrame(() => target.classList.add("lit"));
  history.replaceState(null, "", `#${target.id}`);
}

// Charts ---------------------------------------------------------------------

const tip = document.getElementById("tip");

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-toggle-series]");
  if (!button) return;
  const shown = button.getAttribute("aria-pressed") !== "true";
  showSeries(button.dataset.toggleSeries, shown);
});

function showSeries(color, shown) {
  hiddenSeries[shown ? "delete" : "add"](color);
  for (const part of document.querySelectorAll(`#accuracy [data-series="${CSS.escape(color)}"]`)) {
    part.classList.toggle("off", !shown);
  }
  document.getElementById(`series-${color}`)?.setAttribute("aria-pressed", String(shown));
}

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.("svg[data-plot]");
  if (!chart) return leave();
  const box = chart.getBoundingClientRect();
  point(chart, (event.clientX - box.left) * (chart.viewBox.baseVal.width / box.width), box);
});
document.addEventListener("pointerleave", leave);

function point(chart, x, box) {
  const figures = (chart.figures ??= JSON.parse(chart.dataset.plot));
  const lines = figures.lines.filter((line) => !hiddenSeries.has(String(line.color)));
  const days = lines.flatMap((line) => line.days);
  if (!days.length) return leave();
  const across = (day) => figures.left + (day / figures.days) * (figures.right - figures.left);
  const day = days.reduce((best, own) => (Math.abs(across(own) - x) < Math.abs(across(best) - x) ? own : best));
  const found = lines.flatMap((line) => {
    const value = line.values[line.days.indexOf(day)];
    return value === undefined ? [] : [{ line, value }];
  });
  draw(chart, figures, across(day), found);
  const date = new Date(Date.parse(`${figures.first}T00:00Z`) + day * 86_400_000);
  const title = date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  tip.replaceChildren(row(title), ...found.map(({ line, value }) => row(line.name, value.toFixed(figures.decimals), line.color)));
  tip.hidden = false;
  const left = box.left + scrollX + (across(day) / chart.viewBox.baseVal.width) * box.width;
  const beyond = left + 16 + tip.offsetWidth > scrollX + innerWidth - 8;
  tip.style.left = `${beyond ? left - tip.offsetWidth - 14 : left + 14}px`;
  tip.style.top = `${box.top + scrollY + 12}px`;
}

function row(name, value = "", color = null) {
  const line = document.createElement("p");
  const label = document.createElement("span");
  if (color) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.setProperty("--c", `var(--series-${color})`);
    label.append(swatch);
  }
  label.append(name);
  const figure = document.createElement("strong");
  figure.textContent = value;
  line.append(label, figure);
  return line;
}

function draw(chart, figures, x, found) {
  document.querySelectorAll(".plot-cursor").forEach((old) => old.remove());
  const make = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const cursor = make("g", { class: "plot-cursor" });
  cursor.append(make("line", { x1: x, x2: x, y1: figures.top, y2: figures.bottom }));
  for (const { line, value } of found) {
    const share = (figures.high - value) / (figures.high - figures.low);
    const y = figures.top + share * (figures.bottom - figures.top);
    cursor.append(make("circle", { cx: x, cy: y, r: 4.5, style: `--c:var(--series-${line.color})` }));
  }
  chart.append(cursor);
}

function leave() {
  tip.hidden = true;
  document.querySelectorAll(".plot-cursor").forEach((old) => old.remove());
}

// Decisions ------------------------------------------------------------------

const dialog = document.getElementById("confirm");
const part = (name) => document.getElementById(`confirm-${name}`);
let action = null;
let extra = {};

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  action = button.dataset.action;
  extra = button.dataset.from ? { from_version: Number(button.dataset.from) } : {};
  part("title").textContent = button.dataset.title;
  part("text").textContent = button.dataset.text;
  part("go").textContent = button.dataset.go;
  part("comment").value = "";
  part("error").hidden = true;
  part("name").value ||= remembered();
  dialog.showModal();
});

part("cancel").addEventListener("click", () => dialog.close());

part("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = part("name").value.trim();
  part("go").disabled = true;
  part("error").hidden = true;
  try {
    const answer = await fetch(action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, comment: part("comment").value, ...extra }),
    });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message ?? `The console said ${answer.status}.`);
    remember(name);
    dialog.close();
  } catch (error) {
    part("error").textContent = error instanceof TypeError ? "The console does not answer. Try again." : error.message;
    part("error").hidden = false;
  } finally {
    part("go").disabled = false;
  }
});

function remembered() {
  try { return localStorage.getItem("headrace-name") ?? ""; } catch { return ""; }
}

function remember(name) {
  try { localStorage.setItem("headrace-name", name); } catch { /* storage is off */ }
}

// Theme ----------------------------------------------------------------------

document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("headrace-theme", root.dataset.theme); } catch { /* storage is off */ }
});

settle();
setInterval(tick, 1000);
listen();
if (location.hash.startsWith("#e-") || location.hash.startsWith("#turn-")) {
  const target = document.getElementById(location.hash.slice(1));
  if (target) reveal(target);
}
