"use strict";
const byId = (id) => document.getElementById(id);

function fail(reason) {
  document.documentElement.dataset.error = reason;
  byId("failure").textContent = "A part of this page failed: " + reason;
  byId("failure").hidden = false;
}
window.addEventListener("error", (event) => fail(event.message));
window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));

// ---- data ------------------------------------------------------------------------------------
const data = JSON.parse(byId("data").textContent);
// Column by column: values, and which of these each row has; see bdb/report/page.py.
const entry = ({ values, at }, row) => values[at ? at[row] ?? 0 : row];
const unpack = ({ rows, columns }) => Array.from({ length: rows }, (_, row) =>
  Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, entry(column, row)])));
const board = unpack(data.board);
const summary = unpack(data.summary);
const UNDEFENDED = "none";
const isControl = (attack) => attack === "none" || attack.startsWith("none_");
const distinct = (rows, name) => [...new Set(rows.map((row) => row[name]))];
const several = (rows, name) => distinct(rows, name).length > 1;
const known = (rows, name) => rows.some((row) => row[name] !== null && row[name] !== undefined && row[name] !== "");
const missing = (value) => value === null || value === undefined || value === "";
const percent = (value) => (100 * value).toFixed(1);
const NAMES = {
  attack: (value) => (isControl(value) ? ["no attack", value.slice(5)].filter(Boolean).join(", trained as ") : value),
  defense: (value) => (value === UNDEFENDED ? "no defense" : value),
};
const say = (name, value) => (NAMES[name] ? NAMES[name](value) : String(value));

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// ---- state: everything chosen stands in the address, so that a view can be linked to ------------
const state = new Map();
const listeners = [];
function readState() {
  state.clear();
  // A hash without "?" is a section of the page.
  const hash = decodeURI(location.hash);
  if (hash.startsWith("#?")) for (const [key, value] of new URLSearchParams(hash.slice(2))) state.set(key, value);
}
function choose(key, value) {
  if (value) state.set(key, value); else state.delete(key);
  history.replaceState(null, "", state.size ? "#?" + new URLSearchParams([...state]) : "#");
  listeners.forEach((update) => update());
}

function picker(key, label, values, name, all) {
  const options = values.map((value) => make("option", { value: String(value), textContent: say(name, value) }));
  if (all) options.unshift(make("option", { value: "", textContent: "all" }));
  const select = make("select", { id: "pick-" + key }, ...options);
  select.addEventListener("change", () => choose(key, select.value));
  listeners.push(() => { select.value = state.get(key) || (all ? "" : String(values[0])); });
  return make("label", {}, label, select);
}

// ---- tables ----------------------------------------------------------------------------------
const text = (name, label) => ({ name, label, kind: "text", show: (row) => say(name, row[name]) });
const number = (name, label, digits = 1) => ({ name, label, kind: "number", show: (row) => row[name].toFixed(digits) });
const plain = (name, label) => ({ name, label, kind: "number", show: (row) => String(row[name]) });
const rate = (name, label) => ({ name, label: label + " %", kind: "rate", show: (row) => percent(row[name]) });
const flag = (name, label) => ({ name, label, kind: "text", show: (row) => (row[name] ? "yes" : "no") });
function mean(name, label, scale = 100) {
  const show = (row) => {
    const [low, high] = [row[name + "_low"], row[name + "_high"]];
    const interval = missing(low) ? "" : ` (${(scale * low).toFixed(1)} to ${(scale * high).toFixed(1)})`;
    return (scale * row[name + "_mean"]).toFixed(1) + interval;
  };
  return { name: name + "_mean", label: scale === 100 ? label + " %" : label, kind: scale === 100 ? "rate" : "number", show };
}

function compare(column) {
  return (a, b) => {
    const [x, y] = [a[column.name], b[column.name]];
    if (column.kind === "text") return String(x).localeCompare(String(y), "en", { numeric: true });
    return x - y;
  };
}

class Table {
  constructor(id, rows, columns, first) {
    Object.assign(this, { id, rows, columns, first, limit: 200 });
    this.node = byId(id + "-table");
    listeners.push(() => this.draw());
  }

  sorted(columns) {
    const order = state.get(this.id + "-sort") || "";
    const column = columns().find(({ name }) => name === order.replace(/^-/, ""));
    const rows = this.rows.filter(matches);
    if (!column) return rows;
    const sign = order.startsWith("-") ? -1 : 1;
    const by = compare(column);
    const have = rows.filter((row) => !missing(row[column.name]));
    return [...have.sort((a, b) => sign * by(a, b)), ...rows.filter((row) => missing(row[column.name]))];
  }

  draw() {
    const columns = this.columns();
    const rows = this.sorted(this.columns);
    const body = rows.slice(0, this.limit).map((row) => make("tr", {}, ...columns.map((column) => cell(row, column))));
    this.node.replaceChildren(
      make("thead", {}, make("tr", {}, ...columns.map((column) => this.head(column)))),
      make("tbody", {}, ...body),
    );
    const count = byId(this.id + "-count");
    count.textContent = `${rows.length} of ${this.rows.length} rows`;
    if (rows.length > this.limit) {
      const more = make("button", { type: "button", textContent: "show all" });
      more.addEventListener("click", () => { this.limit = Infinity; this.draw(); });
      count.append(`, the first ${this.limit} shown `, more);
    }
  }

  head(column) {
    if (column.kind === "command" || column.kind === "link") return make("th", { scope: "col", className: "plain", textContent: column.label });
    const key = this.id + "-sort";
    const up = state.get(key) === column.name, down = state.get(key) === "-" + column.name;
    const button = make("button", { type: "button", textContent: column.label });
    button.dataset.sort = column.name;
    button.addEventListener("click", () => {
      choose(key, up ? "-" + column.name : column.name);
      this.node.querySelector(`button[data-sort="${column.name}"]`).focus();
    });
    const head = make("th", { scope: "col", className: column.kind }, button);
    head.setAttribute("aria-sort", up ? "ascending" : down ? "descending" : "none");
    return head;
  }
}

function cell(row, column) {
  if (column.kind === "command") return command(row.command || "");
  if (column.kind === "link") return link(row);
  const value = row[column.name];
  const node = make("td", { className: column.kind, textContent: missing(value) ? "–" : column.show(row) });
  if (column.title && column.title(row)) { node.title = column.title(row); node.classList.add("reasoned"); }
  if (column.kind === "rate" && !missing(value)) node.style.setProperty("--share", Math.max(0, Math.min(1, value)));
  if ((column.name === "defense" && value === UNDEFENDED) || (column.name === "attack" && isControl(value))) node.classList.add("victim");
  return node;
}

// Where what there is to see of a row is shown.
const place = (row) => [row.dataset, row.model, row.attack, row.poison_ratio, "s" + row.seed,
  ...(row.defense === UNDEFENDED ? [] : [row.defense])].join("/");

function link(row) {
  const exhibit = byId(place(row));
  if (!exhibit) return make("td", { textContent: "–" });
  const count = exhibit.dataset.count;
  const anchor = make("a", { href: "#" + exhibit.id, textContent: `${count} picture${count === "1" ? "" : "s"}` });
  anchor.addEventListener("click", () => openExhibit(exhibit.id));
  return make("td", {}, anchor);
}

function command(line) {
  const button = make("button", { type: "button", textContent: "copy", title: line });
  button.setAttribute("aria-label", "Copy the command: " + line);
  button.addEventListener("click", async () => {
    const done = await copy(line);
    button.textContent = done ? "copied" : "press Ctrl+C";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return make("td", { className: "command" }, button, make("code", { textContent: line, title: line }));
}

async function copy(line) {
  try {
    await navigator.clipboard.writeText(line);
    return true;
  } catch {
    // Some browsers keep the clipboard from pages opened from disk.
    const area = make("textarea", { value: line });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// ---- filters, shared by both tables --------------------------------------------------------------
const FILTERS = [["dataset", "Data set"], ["model", "Model"], ["attack", "Attack"], ["poison_ratio", "Ratio"], ["defense", "Defense"]];

function matches(row) {
  const chosen = FILTERS.every(([name]) => !state.has(name) || String(row[name]) === state.get(name));
  const words = (state.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return chosen;
  const all = FILTERS.map(([name]) => say(name, row[name])).join(" ").toLowerCase();
  return chosen && words.every((word) => all.includes(word));
}

function drawFilters() {
  const search = make("input", { type: "search", id: "q", placeholder: "badnets ft" });
  search.addEventListener("input", () => choose("q", search.value));
  listeners.push(() => { if (search.value !== (state.get("q") || "")) search.value = state.get("q") || ""; });
  const pickers = FILTERS.filter(([name]) => several(board, name))
    .map(([name, label]) => picker(name, label, distinct(board, name), name, true));
  byId("filters").append(make("label", {}, "Search", search), ...pickers);
}

// ---- the columns -----------------------------------------------------------------------------
const ATTACK = {
  ...text("attack", "Attack"),
  show: (row) => say("attack", row.attack) + (row.failed_attack ? " (failed)" : ""),
  title: (row) => row.validity || "",
};
const RATIO = { ...plain("poison_ratio", "Ratio"), show: (row) => (row.poison_ratio ? String(row.poison_ratio) : "–") };
const KEYS = [text("dataset", "Data set"), text("model", "Model"), ATTACK, RATIO]
  .filter(({ name }) => name === "attack" || several(board, name));
const detection = (split) => [
  rate(split + "_tpr", "TPR"), rate(split + "_fpr", "FPR"), rate(split + "_f1", "F1"), rate(split + "_flagged_cross", "Flagged cross"), rate(split + "_auroc", "AUROC"),
  rate(split + "_average_precision", "AP"), rate(split + "_tpr_at_1_fpr", "TPR at 1 % FPR"), rate(split + "_tpr_at_5_fpr", "TPR at 5 % FPR"),
];
const comparison = { ...text("comparison", "Compared"), title: (row) => row.reason };
const GROUPS = {
  published: ["Published figures", [rate("published_c_acc", "Published C-Acc"), rate("published_asr", "Published ASR"), rate("published_ra", "Published RA"), comparison]],
  setting: ["Setting", [text("recipe", "Recipe"), text("clean_set", "Clean set"), text("setting", "Changed fields")]],
  verdict: ["Verdict on the model", [flag("backdoored", "Backdoored"), text("suspected_targets", "Suspected targets"), number("score", "Suspicion", 2), number("p_value", "p-value", 3), text("calibration", "Ranked among")]],
  train: ["Detection in the training set", detection("train")],
  inputs: ["Detection of inputs", detection("inputs")],
  trigger: ["Visibility of the trigger", [number("psnr", "PSNR, dB"), number("ssim", "SSIM", 3)]],
  cost: ["Cost", [number("seconds", "Seconds"), number("memory_mb", "Memory, MiB", 0)]],
  origin: ["Origin", [text("device", "Device"), text("torch", "torch"), text("bdb", "bdb"), text("git", "git"), text("code", "Code")]],
};
for (const group of Object.values(GROUPS)) group[1] = group[1].filter(({ name }) => known(board, name));
const offered = Object.entries(GROUPS).filter(([, [, columns]]) => columns.length);
const shownGroups = () => (state.has("columns") ? state.get("columns").split(",") : ["published", "cost"]);
const shownColumns = (groups) => groups.filter(([key]) => shownGroups().includes(key)).flatMap(([, [, columns]]) => columns);

const PICTURES = { name: "pictures", label: "Pictures", kind: "link" };
function boardColumns() {
  const rates = [rate("c_acc", "C-Acc"), rate("asr", "ASR"), rate("ra", "RA"), rate("asr_leak", "Leak"), rate("asr_worst", "Least ASR of a target"), rate("cross_acc", "Cross accuracy"), rate("der", "DER"), rate("rir", "RIR")];
  return [...KEYS, ...(several(board, "seed") ? [plain("seed", "Seed")] : []), text("defense", "Defense"),
    ...rates.filter(({ name }) => known(board, name)), ...(board.some((row) => byId(place(row))) ? [PICTURES] : []),
    ...shownColumns(offered), { name: "command", label: "Command", kind: "command" }];
}

function meanColumns() {
  const loss = { name: "c_acc_loss_mean", label: "C-Acc lost, points", kind: "number", show: (row) => percent(row.c_acc_loss_mean) };
  const means = [mean("c_acc", "C-Acc"), loss, mean("asr", "ASR"), mean("ra", "RA"), mean("der", "DER"), mean("seconds", "Seconds", 1)];
  return [...KEYS, text("defense", "Defense"), plain("seeds", "Seeds"), ...means.filter(({ name }) => known(summary, name)),
    ...shownColumns(offered.filter(([key]) => key === "published"))];
}

function drawColumnChoice() {
  for (const [key, [label]] of offered) {
    const box = make("input", { type: "checkbox", id: "columns-" + key });
    box.addEventListener("change", () => {
      const wanted = offered.map(([name]) => name).filter((name) => byId("columns-" + name).checked);
      choose("columns", wanted.join(",") || "none");
    });
    listeners.push(() => { box.checked = shownGroups().includes(key); });
    byId("columns").append(make("label", {}, box, label));
  }
}

// ---- charts ----------------------------------------------------------------------------------
const dark = matchMedia("(prefers-color-scheme: dark)");
const SCALES = {
  asr: () => (dark.matches ? [[0, "#2b2019"], [0.5, "#a8501c"], [1, "#ffb27a"]] : [[0, "#fff3e6"], [0.5, "#fd8d3c"], [1, "#8c2d04"]]),
  c_acc: () => (dark.matches ? [[0, "#1a2836"], [0.5, "#2f6ea5"], [1, "#a9d6ff"]] : [[0, "#eef5fc"], [0.5, "#6baed6"], [1, "#08457e"]]),
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x"];
// The buttons are named one by one: by default there is one that sends the data to a server.
const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
const CHART_KEYS = [["dataset", "Data set"], ["model", "Model"], ["poison_ratio", "Poison ratio"]];
const attacked = summary.filter((row) => row.poison_ratio); // what has no ratio stands beside every one
const chartValues = (name) => distinct(name === "poison_ratio" && attacked.length ? attacked : summary, name);

// The rows of what is chosen, under the given keys.
function chosenRows(keys) {
  const chosen = keys.map(([name]) => [name, state.get("chart-" + name) || String(chartValues(name)[0])]);
  return summary.filter((row) => chosen.every(([name, value]) =>
    String(row[name]) === value || (name === "poison_ratio" && !row.poison_ratio)));
}

function layout(extra) {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, muted] = ["--ink", "--line", "--muted"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const base = { font: { color: ink, family: "system-ui, sans-serif", size: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 10, r: 10, t: 32, b: 10 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink } };
  return { ...base, ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis } };
}

const victimsFirst = (names) => [...names].sort((a, b) => (b === UNDEFENDED) - (a === UNDEFENDED));

const MANY = 16; // Defenses that two maps beside each other have no room for.

function heatMap(id, rows) {
  const attacks = distinct(rows, "attack"), defenses = victimsFirst(distinct(rows, "defense"));
  const many = defenses.length > MANY;
  document.getElementById(id).closest(".pair").classList.toggle("stacked", many);
  const at = new Map(rows.map((row) => [row.attack + "\n" + row.defense, row]));
  const cells = attacks.map((attack) => defenses.map((defense) => at.get(attack + "\n" + defense)));
  const column = mean(id, "");
  const value = (row) => (row && !missing(row[id + "_mean"]) ? 100 * row[id + "_mean"] : null);
  const values = cells.flat().map(value).filter((number) => number !== null);
  const low = id === "asr" ? 0 : Math.min(90, Math.floor(Math.min(...values, 100) / 10) * 10);
  const trace = {
    type: "heatmap", zmin: low, zmax: 100, colorscale: SCALES[id](), xgap: 2, ygap: 2,
    x: defenses.map((name) => say("defense", name)), y: attacks.map((name) => say("attack", name)),
    z: cells.map((line) => line.map(value)),
    text: cells.map((line) => line.map((row) => (value(row) === null ? "" : value(row).toFixed(many ? 0 : 1)))),
    customdata: cells.map((line) => line.map((row) => (row && value(row) !== null ? `${column.show(row)} %, ${row.seeds} seed${row.seeds > 1 ? "s" : ""}` : ""))),
    texttemplate: "%{text}", hovertemplate: "%{y} under %{x}<br>%{customdata}<extra></extra>", hoverongaps: false,
    colorbar: { thickness: 12, outlinewidth: 0, ticksuffix: " %" },
  };
  const size = { height: 150 + 34 * attacks.length };
  const axes = { xaxis: { type: "category", showgrid: false, dtick: 1, tickangle: many ? -60 : -35 }, yaxis: { type: "category", showgrid: false, autorange: "reversed" } };
  return Plotly.react(id, [trace], layout({ ...size, ...axes }), CONFIG);
}

function scatter(rows) {
  const worked = rows.filter((row) => !isControl(row.attack) && !row.failed_attack);
  const usable = worked.filter((row) => !missing(row.c_acc_mean) && !missing(row.asr_mean));
  const reach = (row, name, side) => (missing(row[name + side]) ? 0 : 100 * Math.abs(row[name + side] - row[name + "_mean"]));
  const errors = (points, name) => ({
    type: "data", symmetric: false, thickness: 1, width: 2,
    array: points.map((row) => reach(row, name, "_high")), arrayminus: points.map((row) => reach(row, name, "_low")),
  });
  const traces = victimsFirst(distinct(usable, "defense")).map((defense, order) => {
    const points = usable.filter((row) => row.defense === defense);
    const turn = Math.floor(order / data.palette.length);
    return {
      type: "scatter", mode: "markers", name: say("defense", defense), text: points.map((row) => row.attack),
      x: points.map((row) => 100 * row.c_acc_mean), y: points.map((row) => 100 * row.asr_mean),
      error_x: errors(points, "c_acc"), error_y: errors(points, "asr"),
      marker: { size: 11, color: data.palette[order % data.palette.length], symbol: SYMBOLS[(order + turn) % SYMBOLS.length] },
      hovertemplate: "%{text}<br>C-Acc %{x:.1f} %<br>ASR %{y:.1f} %",
    };
  });
  const axes = { xaxis: { title: { text: "Clean accuracy, %" }, zeroline: false }, yaxis: { title: { text: "Attack success rate, %" }, range: [-4, 104], zeroline: false } };
  return Plotly.react("scatter", traces, layout({ height: 460, showlegend: true, ...axes }), CONFIG);
}

const average = (rows, name) => rows.reduce((sum, row) => sum + row[name], 0) / rows.length;
const usableRows = (rows) => rows.filter((row) => !isControl(row.attack) && !row.failed_attack && !missing(row.asr_mean));
function look(defense) {
  const order = victimsFirst(distinct(summary, "defense")).indexOf(defense);
  const turn = Math.floor(order / data.palette.length);
  return { color: data.palette[order % data.palette.length], symbol: SYMBOLS[(order + turn) % SYMBOLS.length] };
}

function secondsChart(rows) {
  const timed = usableRows(rows).filter((row) => row.seconds_mean > 0 && row.defense !== UNDEFENDED);
  const traces = distinct(timed, "defense").map((defense) => {
    const mine = timed.filter((row) => row.defense === defense);
    return {
      type: "scatter", mode: "markers+text", name: say("defense", defense), text: [say("defense", defense)], textposition: "top center", cliponaxis: false,
      x: [average(mine, "seconds_mean")], y: [100 * average(mine, "asr_mean")], marker: { size: 10, ...look(defense) },
      hovertemplate: `%{text}<br>%{x:.3g} s<br>ASR %{y:.1f} %, ${mine.length} attacks<extra></extra>`,
    };
  });
  const axes = { xaxis: { title: { text: "Seconds of a cell" }, type: "log" }, yaxis: { title: { text: "Attack success rate, %" }, range: [-4, 108], zeroline: false } };
  return Plotly.react("seconds", traces, layout({ height: 420, showlegend: false, ...axes }), CONFIG);
}

function ratioChart() {
  const whatever = CHART_KEYS.filter(([name]) => name !== "poison_ratio");
  const rows = usableRows(chosenRows(whatever)).filter((row) => row.poison_ratio), ratios = distinct(rows, "poison_ratio").sort((a, b) => a - b);
  const figure = byId("ratio-figure");
  const whole = (mine) => distinct(mine, "attack").filter((attack) => ratios.every((ratio) => mine.some((row) => row.attack === attack && row.poison_ratio === ratio)));
  const traces = victimsFirst(distinct(rows, "defense")).flatMap((defense) => {
    const mine = rows.filter((row) => row.defense === defense), attacks = whole(mine);
    if (!attacks.length) return [];
    const at = (ratio) => mine.filter((row) => row.poison_ratio === ratio && attacks.includes(row.attack));
    return [{
      type: "scatter", mode: "lines+markers", name: say("defense", defense), x: ratios, y: ratios.map((ratio) => 100 * average(at(ratio), "asr_mean")),
      line: { color: look(defense).color }, marker: { size: 8, ...look(defense) },
      hovertemplate: `ratio %{x}<br>ASR %{y:.1f} %, ${attacks.length} attack${attacks.length > 1 ? "s" : ""}`,
    }];
  });
  figure.hidden = ratios.length < 2 || !traces.length; // Before its neighbour is drawn, whose width it takes.
  if (figure.hidden) return Promise.resolve();
  const axes = { xaxis: { title: { text: "Poison ratio" }, type: "log", tickvals: ratios }, yaxis: { title: { text: "Attack success rate, %" }, range: [-4, 104], zeroline: false } };
  return Plotly.react("ratio", traces, layout({ height: 420, showlegend: true, ...axes }), CONFIG);
}

let drawn = "";
async function drawCharts() {
  const now = CHART_KEYS.map(([name]) => state.get("chart-" + name)).join() + dark.matches;
  if (now === drawn) return;
  drawn = now;
  const rows = chosenRows(CHART_KEYS);
  await Promise.all([heatMap("asr", rows), heatMap("c_acc", rows), scatter(rows), ratioChart(), secondsChart(rows)]);
  const first = !document.documentElement.dataset.charts;
  document.documentElement.dataset.charts = "drawn";
  // The section in the address moved while the page filled.
  const wanted = first && !location.hash.startsWith("#?") && byId(section());
  if (wanted) wanted.scrollIntoView({ behavior: "instant" });
}

// ---- one defense against another -----------------------------------------------------------------
const pairs = unpack(data.pairs);
const JUDGED = { asr: "ASR", c_acc: "C-Acc", der: "DER" };
const duelists = () => [...new Set(pairs.flatMap((row) => [row.defense, row.other]))].sort((x, y) => (x === UNDEFENDED) - (y === UNDEFENDED));

function found(metric, one, other) {
  const row = pairs.find((pair) => pair.metric === metric && pair.defense === one && pair.other === other);
  if (row) return row;
  const back = pairs.find((pair) => pair.metric === metric && pair.defense === other && pair.other === one);
  return back && { ...back, difference: -back.difference, low: missing(back.high) ? null : -back.high,
    high: missing(back.low) ? null : -back.low, worse: back.better, better: back.worse };
}

// Which of several clean sets a defense is given.
const cleanSet = (defense) => defense.split("@")[1] || "";
// Those that the first is compared with stand first among the others.
const rivals = ([first, ...others]) => [...others].sort((x, y) => !!found("asr", first, y) - !!found("asr", first, x));

function verdict(one, other) {
  const row = found("asr", one, other);
  const sets = new Set([one, other].map(cleanSet).filter(Boolean));
  if (sets.size > 1) return `${one} and ${other} are given different clean sets, and so are not compared.`;
  if (!row) return `No attack was tried under both ${say("defense", one)} and ${say("defense", other)}.`;
  const [likely, chance] = [["has the higher ASR", row.worse], ["is within 2 points", row.as_good], ["has the lower ASR", row.better]]
    .reduce((best, each) => (each[1] > best[1] ? each : best));
  return `On ${row.victims} victims of ${row.attacks} attack${row.attacks > 1 ? "s" : ""}: ${say("defense", one)} ${likely} beside ${say("defense", other)}, with a probability of ${percent(chance)} %.`;
}

const rowOf = (tag, cells) => make("tr", {}, ...cells.map((content, at) =>
  make(tag, { className: (at ? "number" : "text") + (tag === "th" ? " plain" : ""), textContent: content })));
function fill(id, head, rows) {
  byId(id).replaceChildren(make("thead", {}, rowOf("th", head)), make("tbody", {}, ...rows.map((row) => rowOf("td", row))));
}

let duel = "";
function drawDuel() {
  const names = duelists();
  const one = state.get("duel-one") || names[0], other = state.get("duel-other") || rivals(names)[0];
  if (duel === one + "\n" + other) return;
  duel = one + "\n" + other;
  const [a, b] = [one, other].map((name) => say("defense", name));
  byId("duel-verdict").textContent = verdict(one, other);
  const points = (value) => (missing(value) ? "–" : (100 * value).toFixed(1));
  fill("duel-statistics", [`${a} less ${b}`, "points", "95 % interval", "p (Wilcoxon)", "p (Holm)", "worse %", "as good %", "better %"],
    Object.entries(JUDGED).map(([metric, label]) => [label, found(metric, one, other)]).filter(([, row]) => row)
      .map(([label, row]) => [label, points(row.difference), missing(row.low) ? "–" : `${points(row.low)} to ${points(row.high)}`,
        row.p.toFixed(3), row.p_holm.toFixed(3), points(row.worse), points(row.as_good), points(row.better)]));
  const at = (defense) => new Map(summary.filter((row) => row.defense === defense && !row.failed_attack)
    .map((row) => [[row.dataset, row.model, row.attack, row.poison_ratio].join("\n"), row]));
  const [mine, theirs] = [at(one), at(other)];
  const shared = [...mine.keys()].filter((key) => theirs.has(key)).map((key) => [mine.get(key), theirs.get(key)]);
  const settings = ["dataset", "model"].filter((name) => several(summary, name));
  fill("duel-attacks", ["attack", "ratio", `ASR % ${a}`, `ASR % ${b}`, `C-Acc % ${a}`, `C-Acc % ${b}`],
    shared.map(([x, y]) => [[...settings.map((name) => x[name]), say("attack", x.attack)].join(" "),
      x.poison_ratio || "–", points(x.asr_mean), points(y.asr_mean), points(x.c_acc_mean), points(y.c_acc_mean)].map(String)));
}

function offerDuel() {
  const names = duelists();
  if (names.length < 2) { byId("duel-verdict").textContent = "There are no two defenses that were tried on one attack that works."; return; }
  const others = [...rivals(names), names[0]];
  byId("duel-controls").append(picker("duel-one", "Defense", names, "defense", false), picker("duel-other", "against", others, "defense", false));
  listeners.push(drawDuel);
}

// ---- gallery ---------------------------------------------------------------------------------
function filterRuns() {
  const wanted = byId("runs").value.toLowerCase();
  for (const run of document.querySelectorAll(".run")) run.hidden = !run.dataset.run.includes(wanted);
}

// Beside a cell's picture, that of its victim, which the page holds once.
function showBefore({ currentTarget: exhibit }) {
  for (const figure of exhibit.querySelectorAll("figure[data-before]")) {
    const before = byId(figure.dataset.before)?.cloneNode(true);
    delete figure.dataset.before;
    if (!before) continue;
    before.removeAttribute("id");
    before.querySelector("figcaption").textContent += " before the defense";
    figure.before(before);
  }
}

function openExhibit(id) {
  const exhibit = byId(id);
  if (!exhibit || !exhibit.classList.contains("run")) return;
  exhibit.hidden = false;
  exhibit.open = true;
  exhibit.scrollIntoView({ behavior: "instant" });
}
const section = () => decodeURIComponent(location.hash.slice(1));

// On paper there is nothing to unfold.
window.addEventListener("beforeprint", () => document.querySelectorAll("details.fold").forEach((each) => { each.open = true; }));

// ---- start -----------------------------------------------------------------------------------
drawFilters();
drawColumnChoice();
byId("chart-controls").append(...CHART_KEYS.filter(([name]) => chartValues(name).length > 1)
  .map(([name, label]) => picker("chart-" + name, label, chartValues(name), name, false)));
offerDuel();
new Table("means", summary, meanColumns);
new Table("board", board, boardColumns);
listeners.push(drawCharts);
dark.addEventListener("change", drawCharts);
if (byId("runs")) byId("runs").addEventListener("input", filterRuns);
for (const run of document.querySelectorAll(".run")) run.addEventListener("toggle", showBefore);
function refresh() {
  readState();
  listeners.forEach((update) => update());
}
window.addEventListener("hashchange", () => {
  if (!location.hash || location.hash.startsWith("#?")) refresh(); else openExhibit(section());
});
refresh();
openExhibit(section());
document.documentElement.dataset.ready = "yes";
