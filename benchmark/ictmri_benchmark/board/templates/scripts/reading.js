const folds = [...document.querySelectorAll("details.entry")];

function goTo(id) {
  const target = id && byId(id);
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
  (target.tagName === "DETAILS" ? target.querySelector("summary") : target).focus({ preventScroll: true });
}

function startReading() {
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    anchor = link.getAttribute("href").slice(1);
    if (address() !== location.hash) history.pushState(null, "", address());
    goTo(anchor);
  });
  byId("folding").hidden = folds.length < 2;
  byId("unfold").addEventListener("click", () => folds.forEach(fold => { fold.open = true; }));
  byId("fold").addEventListener("click", () => folds.forEach(fold => { fold.open = false; }));
}
