const DATA = JSON.parse(byId("data").textContent);
const pairForm = byId("pair");
const verdict = byId("verdict");
const places = new Map(DATA.entries.map(([slug], place) => [slug, place]));
const pairs = new Map(DATA.pairs.map(([one, other, ...numbers]) => [`${one} ${other}`, numbers]));

const points = value => (100 * value).toFixed(1).replace("-", "−").replace(/^−0\.0$/, "0.0");
const signed = value => (100 * value >= 0.05 ? "+" : "") + points(value);
const pText = p => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);
// A name may hold characters that turn the direction of what follows: these two marks keep it to itself.
const isolated = name => `\u2068${name}\u2069`;
const times = n => `${n} ${n === 1 ? "case" : "cases"}`;

function between(one, other) {
  const straight = pairs.get(`${one} ${other}`);
  if (straight) return straight;
  const turned = pairs.get(`${other} ${one}`);
  if (!turned) return null;
  const [difference, low, high, p, mcnemar, onlyFirst, onlySecond] = turned;
  return [-difference, -high, -low, p, mcnemar, onlySecond, onlyFirst];
}

function sentence(first, second, [difference, low, high, p]) {
  const ahead = difference > 0 ? first : second;
  const told = p < DATA.alpha;
  const inside = low <= 0 && high >= 0;
  if (told && !inside) {
    return [`This cohort can tell them apart: ${ahead} is ahead by ${points(Math.abs(difference))} points of macro F1.`, "told"];
  }
  if (told !== !inside) {
    return ["The test and the interval disagree: this cohort is at its limit, so take it as cannot tell.", "open"];
  }
  return [`This cohort cannot tell them apart. ${first} minus ${second} is ${signed(difference)} points of macro F1, `
    + `and anything from ${signed(low)} to ${signed(high)} fits.`, "open"];
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function differencePlot(first, second, [difference, low, high]) {
  const widest = Math.max(0.05, Math.abs(low), Math.abs(high)) * 1.1;
  const x = value => (150 + (150 * value) / widest).toFixed(1);
  const plot = svg("svg", { class: "forest tall", viewBox: "0 0 300 24", preserveAspectRatio: "none", role: "img",
    "aria-label": `First minus second in macro F1 with its 95 % interval: ${signed(difference)} points, `
      + `${signed(low)} to ${signed(high)}` });
  plot.append(svg("path", { class: "z", d: "M150 0V24" }),
    svg("rect", { class: "i", x: x(low), y: 8, width: Math.max(x(high) - x(low), 1), height: 8 }),
    svg("path", { class: "v", d: `M${x(difference)} 4V20` }));
  const ends = element("p", undefined, "ends soft");
  ends.append(element("span", `← ${second} ahead`), element("span", `${first} ahead →`));
  const axis = element("p", undefined, "ends soft");
  axis.append(...[`${signed(-widest)}`, "0", `${signed(widest)} points`].map(text => element("span", text)));
  const figure = element("figure");
  figure.append(plot, axis, ends);
  return figure;
}

function facts(first, second, [difference, low, high, p, mcnemar, onlyFirst, onlySecond]) {
  const list = element("dl");
  const rows = [
    ["First minus second", `${signed(difference)} points of macro F1, 95 % interval ${signed(low)} to ${signed(high)}; `
      + "paired draws"],
    ["Permutation test", `${pText(p)}, two-sided, for this one pair: whoever looks at many pairs must ask for less`],
    ["McNemar, accuracy", `${pText(mcnemar)}: ${times(onlyFirst)} only the first has right, `
      + `${times(onlySecond)} only the second, of ${DATA.n}`],
  ];
  for (const [name, text] of rows) list.append(element("dt", name), element("dd", text));
  return list;
}

function showPair() {
  if (pairForm.hidden) return;
  const { a, b } = pairForm.elements;
  a.value = places.has(state.a) ? state.a : DATA.entries[0][0];
  b.value = places.has(state.b) ? state.b : DATA.entries[1][0];
  const [one, other] = [places.get(a.value), places.get(b.value)];
  const [first, second] = [one, other].map(place => isolated(DATA.entries[place][1]));
  const found = between(one, other);
  if (!found) {
    const command = `ictmri compare ${a.value}/predictions.csv ${b.value}/predictions.csv`;
    verdict.replaceChildren(element("p", one === other ? "Choose two different entries."
      : `These two are not among the pairs of this page. In the folder of the entries: ${command}`));
    return;
  }
  const [text, kind] = sentence(first, second, found);
  verdict.replaceChildren(element("p", text, `big ${kind}`), differencePlot(first, second, found),
    facts(first, second, found));
}

function startCompare() {
  if (DATA.entries.length < 2) return;
  pairForm.hidden = false;
  for (const name of ["a", "b"]) {
    for (const [slug, title] of DATA.entries) {
      const option = element("option", title);
      option.value = slug;
      pairForm.elements[name].append(option);
    }
  }
  const changed = () => {
    state.a = pairForm.elements.a.value;
    state.b = pairForm.elements.b.value;
    anchor = "compare";
    showPair();
    writeAddress();
  };
  pairForm.addEventListener("submit", event => event.preventDefault());
  pairForm.addEventListener("input", changed);
  byId("swap").addEventListener("click", () => {
    const { a, b } = pairForm.elements;
    [a.value, b.value] = [b.value, a.value];
    changed();
  });
}
