"use strict";
// The page: what is dropped, chosen or seen by the camera goes through the network and onto the list.

const $ = (id) => document.getElementById(id);
const waiting = []; // [name, file]
// False-alarm rates and the scores below which a picture is unknown by them, in the order of the slider.
const rates = Object.entries(about.thresholds)
  .map(([rate, known]) => [Number(rate), known])
  .sort((a, b) => a[0] - b[0]);
let network = null;
let working = false;

// The first place of the slider is never.
function threshold() {
  const place = Number($("rate").value);
  return place > 0 ? rates[place - 1][1] : null;
}

function say(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

function showRate() {
  const place = Number($("rate").value);
  const text = place
    ? `up to about ${percent(rates[place - 1][0])} of the pictures of these classes are then called so too`
    : "never";
  $("rate-text").textContent = text;
  $("rate").setAttribute("aria-valuetext", text);
  for (const result of results) show(result, threshold());
  $("summary").textContent = summary(threshold());
}

function describe() {
  document.title = $("title").textContent = about.name;
  const { classes } = about;
  const first = classes.slice(0, 30).join(", ");
  $("classes").textContent = `${classes.length} classes: ${first}${classes.length > 30 ? ", ..." : ""}`;
  $("about").textContent = `Made with smat ${about.smat}.`;
  $("unknown").textContent = about.unknown_label;
  $("rate").max = rates.length;
  $("rate").value = 1 + rates.findIndex(([rate]) => rate === about.reject);
  $("reject").hidden = !rates.length;
  showRate();
}

function progress(share) {
  $("progress").hidden = share >= 1;
  $("progress").value = share;
}

async function classifyWaiting() {
  if (working || !network) return;
  working = true;
  let done = 0;
  while (waiting.length) {
    const [name, file] = waiting.shift();
    try {
      addResult({ name, ...(await network.classify(file)) }, threshold());
    } catch (error) {
      addResult({ name, error: error.message }, threshold());
    }
    done++;
    progress(done / (done + waiting.length));
    say(waiting.length ? `Classified ${done} of ${done + waiting.length}` : `Classified ${results.length}`);
    $("results").hidden = false;
    $("summary").textContent = summary(threshold());
  }
  working = false;
}

// Files that are no pictures are counted, not read; hidden ones, as systems leave them in folders, are passed over.
function take(named) {
  const seen = named.filter(([name]) => !name.split("/").at(-1).startsWith("."));
  const pictures = seen.filter(([name, file]) => file.type.startsWith("image/") || /\.(hei[cf]|avif)$/i.test(name));
  const others = seen.length - pictures.length;
  $("note").textContent = others ? `${others} of ${seen.length} files are no pictures, and were left out` : "";
  waiting.push(...pictures.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  classifyWaiting();
}

function takeInput({ target }) {
  take([...target.files].map((file) => [file.webkitRelativePath || file.name, file]));
  target.value = "";
}

async function filesOf(entry, path = "") {
  const name = path + entry.name;
  if (entry.isFile) return [[name, await new Promise((done, failed) => entry.file(done, failed))]];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // 100 at a time
    if (!some.length) return found;
    for (const inner of some) found.push(...(await filesOf(inner, `${name}/`)));
  }
}

async function takeDropped({ dataTransfer }) {
  const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...dataTransfer.files].map((file) => [file.name, file]); // both, before anything is awaited
  try {
    take(entries.length ? (await Promise.all(entries.map((entry) => filesOf(entry)))).flat() : files);
  } catch {
    take(files); // where the browser does not let this page look into folders
  }
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table(threshold())], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function clear() {
  waiting.length = results.length = 0;
  $("list").replaceChildren();
  $("results").hidden = true;
  say($("note").textContent = "");
  $("choose-files").focus();
}

const camera = { facing: "environment", kept: 0, stream: null };

async function watch() {
  camera.stream?.getTracks().forEach((track) => track.stop());
  const video = { facingMode: camera.facing };
  const stream = (camera.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false }));
  $("video").srcObject = stream;
  await $("video").play();
  while (camera.stream === stream && $("camera").open) {
    const found = await network.classify(await createImageBitmap($("video")), false);
    const label = labelOf(found, threshold());
    $("seen").textContent = `${label} (${percent(Math.max(...found.probabilities))})`;
    await new Promise(requestAnimationFrame);
  }
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("snapshot").click(); // a page that is not served by https
  $("camera").showModal();
  try {
    await watch();
  } catch (error) {
    $("camera").close();
    say(`The camera cannot be used: ${error.message}`, true);
  }
}

function closeCamera() {
  camera.stream?.getTracks().forEach((track) => track.stop());
  camera.stream = null;
}

function keepPicture() {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const name = `camera-${String(++camera.kept).padStart(3, "0")}.png`;
  canvas.toBlob((picture) => picture && take([[name, picture]]));
}

function listen() {
  const chooser = { "choose-files": "files", "choose-folder": "folder" };
  for (const [button, input] of Object.entries(chooser)) $(button).onclick = () => $(input).click();
  for (const input of ["files", "folder", "snapshot"]) $(input).onchange = takeInput;
  $("rate").oninput = showRate;
  $("download").onclick = download;
  $("clear").onclick = clear;
  $("open-camera").onclick = openCamera;
  $("keep").onclick = keepPicture;
  $("turn").onclick = () => {
    camera.facing = camera.facing === "user" ? "environment" : "user";
    watch().catch((error) => ($("seen").textContent = error.message));
  };
  $("close").onclick = () => $("camera").close();
  $("camera").onclose = closeCamera;
  const over = (on) => (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", on);
  };
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", over(false));
  document.addEventListener("drop", (event) => {
    over(false)(event);
    takeDropped(event);
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    take([...clipboardData.files].map((file) => [file.name, file]));
  });
}

async function main() {
  describe();
  listen();
  let loaded = 0;
  say("Loading the classifier");
  $("open-camera").disabled = true;
  try {
    network = await Network.start((share) => progress((loaded += share)));
  } catch (error) {
    return say(`The classifier cannot be started: ${error.message}`, true);
  }
  progress(1);
  $("open-camera").disabled = false;
  say(network.provider === "webgpu" ? "Ready (on the GPU)" : "Ready");
  classifyWaiting();
}

main();
