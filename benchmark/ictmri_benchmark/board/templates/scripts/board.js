const table = byId("table");
const controls = byId("controls");
const heads = [...table.tHead.rows[0].cells];
const bodies = [...table.tBodies].map(body => ({ body, rows: [...body.querySelectorAll("tr.entry")] }));
const entries = bodies.flatMap(({ rows }) => rows);
// Rank and entry are always there.
const choosable = heads.slice(2);
const usual = choosable.filter(head => !head.hidden).map(head => head.dataset.key).join(" ");
const boxes = choosable.map(() => element("input"));

function direction() {
  return state.sort.startsWith("-") ? -1 : 1;
}

function column() {
  const key = state.sort.replace(/^-/, "");
  return Math.max(heads.findIndex(head => head.dataset.key === key), 0);
}

function compareRows(place, sign) {
  const text = heads[place].dataset.kind === "text";
  const value = row => row.cells[place].dataset.v;
  return (one, other) => {
    const [a, b] = [value(one), value(other)];
    // Rows without a value come last, whichever way the table is sorted.
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (text ? a.localeCompare(b) : a - b);
  };
}

function sortRows() {
  const place = column();
  const sign = direction();
  const byRank = heads[place].dataset.key === "rank";
  table.classList.toggle("untiered", !byRank || sign < 0);
  if (byRank && sign > 0) {
    for (const { body, rows } of bodies) {
      body.append(...rows);
      table.append(body);
    }
  } else {
    bodies[0].body.append(...[...entries].sort(compareRows(place, sign)));
  }
  heads.forEach((head, i) => (i === place
    ? head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending")
    : head.removeAttribute("aria-sort")));
}

function isShown(row) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (key, value) => !value || row.dataset[key].split("|").includes(value);
  return words.every(word => row.dataset.find.includes(word))
    && ["track", "level", "uses", "ranked"].every(key => holds(key, state[key]));
}

function filterRows() {
  for (const row of entries) row.hidden = !isShown(row);
  for (const { body, rows } of bodies) {
    const kept = [...body.querySelectorAll("tr.entry")];
    body.classList.toggle("empty", kept.every(row => row.hidden));
  }
  // The ensemble that the board makes is no entry.
  const counted = entries.filter(row => !row.classList.contains("made"));
  const shown = counted.filter(row => !row.hidden).length;
  const fits = entries.some(row => !row.hidden);
  const sorted = heads[column()].querySelector("button").textContent;
  byId("status").textContent = (fits ? `${shown} of ${counted.length} entries shown` : "No entry fits")
    + `, sorted by ${sorted.toLowerCase()}${direction() < 0 ? ", highest first" : ""}.`;
}

function showColumns() {
  const wanted = (state.columns || usual).split(" ");
  table.classList.toggle("chosen", wanted.join(" ") !== usual);
  choosable.forEach((head, i) => {
    const shown = wanted.includes(head.dataset.key);
    boxes[i].checked = shown;
    for (const row of [table.tHead.rows[0], ...entries]) row.cells[i + 2].hidden = !shown;
  });
}

function startColumns() {
  choosable.forEach((head, i) => {
    const label = element("label", ` ${head.firstElementChild.textContent}`);
    boxes[i].type = "checkbox";
    label.prepend(boxes[i]);
    byId("columns").querySelector("div").append(label);
  });
  byId("columns").addEventListener("change", () => {
    const keys = choosable.filter((_, i) => boxes[i].checked).map(head => head.dataset.key).join(" ");
    // "-" is no column: with none chosen, nothing but rank and entry is left.
    state.columns = keys === usual ? "" : keys || "-";
    showColumns();
    writeAddress();
  });
}

function showBoard() {
  if (!entries.length) return;
  showColumns();
  for (const input of controls.elements) {
    if (input.name && input.name !== "order") input.value = state[input.name];
  }
  controls.elements.order.value = state.sort;
  sortRows();
  filterRows();
}

function orders() {
  return heads.filter(head => head.dataset.key !== "level").map(head => {
    const option = element("option", head.querySelector("button").textContent);
    option.value = (head.dataset.first ? "-" : "") + head.dataset.key;
    return option;
  });
}

function startHead(head) {
  const button = element("button", head.firstElementChild.textContent);
  button.type = "button";
  head.firstElementChild.replaceWith(button);
  button.addEventListener("click", () => {
    const key = head.dataset.key;
    const first = head.dataset.first ? "-" + key : key;
    const other = head.dataset.first ? key : "-" + key;
    state.sort = state.sort === first ? other : first;
    showBoard();
    writeAddress();
  });
}

function startBoard() {
  if (!entries.length) return;
  startColumns();
  heads.forEach(startHead);
  controls.elements.order.append(...orders());
  controls.hidden = false;
  controls.addEventListener("submit", event => event.preventDefault());
  controls.addEventListener("input", event => {
    const { name, value } = event.target;
    state[name === "order" ? "sort" : name] = value;
    sortRows();
    filterRows();
    writeAddress();
  });
  byId("clear").addEventListener("click", () => {
    Object.assign(state, DEFAULTS, { a: state.a, b: state.b });
    showBoard();
    writeAddress();
  });
  byId("copy").addEventListener("click", copyLink);
}

async function copyLink() {
  if (!anchor) anchor = "board";
  writeAddress();
  const status = byId("status");
  try {
    await navigator.clipboard.writeText(location.href);
    status.textContent = "The link to this view is copied.";
  } catch {
    status.textContent = `The link to this view: ${location.href}`;
  }
}
