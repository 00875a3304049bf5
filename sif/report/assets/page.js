// Draws the figures of a page and runs its controls. Nothing is loaded and nothing is sent.
const $ = (id) => document.getElementById(id);
const data = (id) => { const node = $(id); return node ? JSON.parse(node.textContent) : null; };
const element = (tag, text, attributes = {}) => {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const digits = (value) => (typeof value === "number" ? Number(value.toPrecision(5)).toString() : String(value));

// Theme: that of the system unless the reader has chosen.
const THEMES = ["auto", "light", "dark"];
const remembered = () => { try { return localStorage.getItem("sif-theme"); } catch { return null; } };
const setTheme = (theme) => {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").querySelector("span").textContent = theme;
  try { localStorage.setItem("sif-theme", theme); } catch { /* a page without storage */ }
};
setTheme(THEMES.includes(remembered()) ? remembered() : "auto");
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});

// Figures, one after the other, so that the page stays usable meanwhile.
const specs = data("charts") ?? {};
const views = {};
const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom", disableDefaultStyle: true } };
const fill = (name, rows) => {
  views[name]?.data("rows", rows.map((row) => ({ ...row })));
};
async function draw() {
  for (const [name, spec] of Object.entries(specs)) {
    const place = $(`chart-${name}`);
    if (!place || name === "tried") continue; // it is drawn with its data, below
    try {
      const result = await window.vegaEmbed(place, structuredClone(spec), options);
      views[name] = result.view;
    } catch (error) {
      place.textContent = "This figure could not be drawn.";
      console.error(`${name}: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
}

// Everything that was tried: a set of candidates over a size; one is chosen by click or list.
const sets = data("tried-data") ?? [];
const SIZES = { seconds: "seconds", since: "seconds since its model began", steps: "weight steps", cost: "cost of its operations", parameters: "parameters" };
const state = { set: 0, number: null, off: {} };
const isOff = (set, row) => set.axes.some((axis, k) => state.off[axis.block]?.has(row.choices[k]));
// What some users alone judged is no rival of what all did.
const sorted = (set) => [...set.rows].sort((a, b) => Boolean(a.users) - Boolean(b.users) || (set.lower ? a.quality - b.quality : b.quality - a.quality));
function triedRows(set, size) {
  const best = sorted(set)[0];
  return set.rows.filter((row) => row[size] !== null && row[size] !== undefined).map((row) => ({ n: row.n, name: row.name, quality: row.quality, x: row[size], best: row === best, off: isOff(set, row), group: row.group, users: row.users ?? null }));
}
function showTried() {
  const set = sets[state.set];
  if (!set || !views.tried) return;
  const size = $("tried-size").value || "seconds";
  fill("tried", triedRows(set, size));
  views.tried.signal("chosen", state.number ?? -1);
  views.tried.runAsync();
}
function showDetails() {
  const set = sets[state.set];
  const box = $("tried-details");
  box.replaceChildren();
  const row = set.rows.find((one) => one.n === state.number);
  if (!row) { box.append(element("p", "Choose a point or a line of the list.", { class: "about" })); return; }
  box.append(element("h4", row.name));
  const list = element("dl", null, { class: "facts" });
  const add = (name, value) => { if (value !== null && value !== undefined && value !== "") list.append(element("dt", name), element("dd", digits(value))); };
  if (row.expression && row.expression !== row.name) add("model", row.expression);
  add("of", row.group);
  add(set.measure, row.quality);
  set.axes.forEach((axis, k) => add(axis.name, row.choices[k]));
  for (const [key, title] of Object.entries({ seconds: "seconds", since: SIZES.since, steps: "weight steps", epochs: "epochs", cost: "cost", parameters: "parameters", loss: "train loss", valid_loss: "valid loss" })) add(title, row[key]);
  if (row.users) add("judged by", `${row.users} users`);
  if (row.kind && !["epoch", "candidate", "design"].includes(row.kind)) add("kind", row.kind);
  box.append(list);
}
function choose(number) {
  state.number = number;
  $("tried-list").value = String(number);
  showDetails();
  if (views.tried) views.tried.signal("chosen", number).runAsync();
}
function setUpTried() {
  if (!sets.length) return;
  const [setBox, sizeBox, list] = [$("tried-set"), $("tried-size"), $("tried-list")];
  sets.forEach((set, k) => setBox.append(element("option", set.label, { value: k })));
  const takeSet = () => {
    state.set = Number(setBox.value); state.number = null;
    const set = sets[state.set];
    sizeBox.replaceChildren(...set.sizes.map((size) => element("option", SIZES[size] ?? size, { value: size })));
    list.replaceChildren(...sorted(set).slice(0, 200).map((row) => element("option", `${digits(row.quality)}  ${row.name}${row.kind === "epoch" && set.axes.length <= 6 ? `, epoch ${row.n}` : ""}`, { value: row.n })));
    $("tried-note").textContent = set.rows.some((row) => row.users) ? "Faint points were judged by some of the users alone." : "";
    showDetails(); redraw();
  };
  setBox.addEventListener("change", takeSet);
  sizeBox.addEventListener("change", () => redraw());
  list.addEventListener("change", () => choose(Number(list.value)));
  takeSet();
}
async function redraw() {
  // The titles of both axes are of the figure's specification, so it is drawn anew.
  const set = sets[state.set];
  if (!specs.tried || !set || !window.vegaEmbed) return;
  const spec = structuredClone(specs.tried);
  const encoding = spec.layer[0].encoding;
  const size = $("tried-size").value || "seconds";
  encoding.x.title = SIZES[size] ?? size;
  encoding.y.title = `${set.measure}, ${set.lower ? "lower" : "higher"} is better`;
  const positive = set.rows.map((row) => row[size]).filter((value) => value > 0);
  if (positive.length === set.rows.length && Math.max(...positive) > 50 * Math.min(...positive)) encoding.x.scale = { type: "log" };
  if (set.groups.length) {
    const color = { field: "group", type: "nominal", scale: { domain: set.groups }, legend: { symbolType: "circle", symbolStrokeWidth: 0 } };
    encoding.color = { condition: encoding.color.condition.slice(0, 1), ...color };
  }
  spec.data.values = triedRows(set, size);
  views.tried?.finalize();
  const result = await window.vegaEmbed($("chart-tried"), spec, options);
  views.tried = result.view;
  result.view.addEventListener("click", (_, item) => { if (item?.datum?.n) choose(item.datum.n); });
  showTried();
}

// Choices of the next search.
const quoted = (name) => (/^[A-Za-z][\w.-]*$/.test(name) ? name : JSON.stringify(name));
function setLine() {
  const items = [];
  for (const set of document.querySelectorAll("fieldset[data-block]")) {
    const boxes = [...set.querySelectorAll("input[type=checkbox]")];
    const kept = boxes.filter((box) => box.checked);
    state.off[set.dataset.block] = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    boxes.forEach((box) => {
      box.closest("tr").classList.toggle("off", !box.checked);
      box.disabled = box.checked && kept.length === 1;
    });
    if (kept.length < boxes.length) items.push(`'search.choices.${set.dataset.block}=[${kept.map((box) => quoted(box.value)).join(", ")}]'`);
  }
  $("set-line").textContent = items.length ? `--set ${items.join(" ")}` : "everything is kept";
  $("copy-set").disabled = !items.length;
}
function dim() {
  showTried();
  const spec = specs.parallel;
  if (!spec || !views.parallel) return;
  const ours = sets.find((set) => set.axes.length);
  const off = new Set(ours.rows.filter((row) => isOff(ours, row)).map((row) => row.n));
  fill("parallel", spec.data.values.map((row) => ({ ...row, off: off.has(row.n) })));
  views.parallel.runAsync();
}
function setUpChoices() {
  if (!$("set-line")) return;
  document.querySelectorAll("fieldset[data-block] input").forEach((box) => box.addEventListener("change", () => { setLine(); dim(); }));
  $("copy-set").addEventListener("click", async () => {
    const text = $("set-line").textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const range = document.createRange(); range.selectNodeContents($("set-line"));
      const selection = getSelection(); selection.removeAllRanges(); selection.addRange(range);
      document.execCommand("copy");
    }
    $("copy-set").textContent = "Copied";
    setTimeout(() => { $("copy-set").textContent = "Copy"; }, 1500);
  });
  setLine();
}

// Small controls.
$("all-settings")?.addEventListener("change", (event) => $("settings-table").classList.toggle("changed-only", !event.target.checked));
$("settings-table")?.classList.toggle("changed-only", !$("all-settings").checked);
$("alpha-choice")?.addEventListener("change", (event) => views.alpha?.signal("choice", event.target.value).runAsync());
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

setUpChoices();
await draw();
setUpTried();
document.documentElement.dataset.ready = "true";
