"use strict";
// The state of the page is in the address, after "#": the place, then what was chosen, as in
// #board?q=radiomics&sort=-accuracy. So a copied link shows the same view, also from a file on a disk.
const DEFAULTS = { q: "", track: "", level: "", uses: "", ranked: "", sort: "rank", columns: "", a: "", b: "" };
const state = { ...DEFAULTS };
let anchor = "";

function readAddress() {
  const [place, query] = location.hash.slice(1).split(/\?(.*)/s);
  const chosen = new URLSearchParams(query || "");
  for (const key of Object.keys(DEFAULTS)) state[key] = chosen.get(key) ?? DEFAULTS[key];
  anchor = place;
}

function address() {
  const chosen = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const query = new URLSearchParams(chosen).toString();
  return query || anchor ? `#${anchor}${query && "?" + query}` : "#";
}

function writeAddress() {
  history.replaceState(null, "", address());
}

function byId(id) {
  return document.getElementById(id);
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
