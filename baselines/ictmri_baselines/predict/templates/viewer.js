"use strict";
(() => {
  const section = document.getElementById("viewer");
  if (!section) return;
  const byId = (name) => document.getElementById(name);
  const give = (text) => {
    byId("viewer-tools").hidden = true;
    byId("no-viewer").hidden = false;
    byId("no-viewer").textContent = text;
  };
  if (!document.createElement("canvas").getContext("webgl2")) {
    give("The interactive viewer needs WebGL 2, which this browser does not offer. The pictures above show the same volumes.");
    return;
  }
  const volumes = JSON.parse(byId("volumes").textContent);
  const layers = [
    ["brain", { colormap: "gray", cal_min: 0, cal_max: 255 }],
    ["prior", { colormap: "warm", opacity: 0.35, cal_min: 127, cal_max: 255 }],
    ["attention", { colormap: "inferno", opacity: 0.45, cal_min: 40, cal_max: 255 }],
  ].filter(([name]) => volumes[name]);
  const start = async () => {
    const viewer = new niivue.Niivue({
      logLevel: "silent", isRadiologicalConvention: true, sagittalNoseLeft: true, dragAndDropEnabled: false, backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.78, 1, 0.7], crosshairWidth: 1, show3Dcrosshair: true, fontMinPx: 12,
    });
    byId("viewer-tools").hidden = false;
    byId("no-viewer").hidden = true;
    await viewer.attachToCanvas(byId("canvas"));
    for (const [name, options] of layers) {
      const volume = await niivue.NVImage.loadFromBase64({ base64: volumes[name], name: name + ".nii.gz", ...options });
      viewer.addVolume(volume);
    }
    viewer.setMultiplanarLayout(niivue.MULTIPLANAR_TYPE ? niivue.MULTIPLANAR_TYPE.GRID : 2);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.onLocationChange = (place) => {
      byId("place").textContent = "MNI " + [...place.mm].slice(0, 3).map((mm) => mm.toFixed(0)).join(", ") + " mm";
    };
    const centre = JSON.parse(section.dataset.centre);
    viewer.scene.crosshairPos = viewer.mm2frac(centre);
    viewer.drawScene();
    viewer.createOnLocationChange();
    layers.forEach(([name], place) => {
      const slider = byId("opacity-" + name);
      if (!slider) return;
      slider.addEventListener("input", () => viewer.setOpacity(place, Number(slider.value) / 100));
    });
    byId("planes").addEventListener("change", (event) => viewer.setSliceType(viewer[event.target.value]));
    section.dataset.ready = "yes";
  };
  start().catch((error) => give("The interactive viewer could not start (" + error.message + "). The pictures above show the same volumes."));
})();
