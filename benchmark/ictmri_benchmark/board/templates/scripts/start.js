function show() {
  readAddress();
  showBoard();
  showPair();
  goTo(anchor);
}

startBoard();
startCompare();
startReading();
addEventListener("hashchange", show);
show();
