"use strict";
const form = document.getElementById("filter");
const cases = [...document.querySelectorAll(".case")];
const boxes = form ? [...form.querySelectorAll("[name=group]")] : [];
function show() {
  const code = form.elements.code ? form.elements.code.value : "";
  const wanted = boxes.filter(box => box.checked).map(box => box.value);
  let count = 0;
  for (const item of cases) {
    const fits = (!boxes.length || wanted.includes(item.dataset.group)) && (!code || item.dataset.codes.split(" ").includes(code));
    item.hidden = !fits;
    count += fits;
  }
  for (const section of document.querySelectorAll("[data-counted]"))
    section.hidden = !section.querySelector(".case:not([hidden])");
  form.querySelector("output").textContent = count + " of " + cases.length + " shown";
}
if (form) {
  form.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.reset();
  show();
}
