"use strict";
// What was found, as rows on the page and as a table.

const SHOWN = 3; // classes of which a row shows the probability

const results = []; // { name, probabilities, known, row } or { name, error, row }

function percent(share) {
  return `${(100 * share).toFixed(share < 0.1 && share > 0 ? 1 : 0)} %`;
}

function best(probabilities) {
  return probabilities.indexOf(Math.max(...probabilities));
}

// The label by the false-alarm rate that is set; no threshold: always one of the classes.
function labelOf({ probabilities, known }, threshold) {
  return threshold !== null && known < threshold ? about.unknown_label : about.classes[best(probabilities)];
}

function show(result, threshold) {
  const label = result.row.querySelector(".label");
  if (result.error) {
    label.textContent = `Not classified: ${result.error}`;
    label.classList.add("problem");
    return;
  }
  label.textContent = labelOf(result, threshold);
}

function addResult(result, threshold) {
  const row = document.getElementById("row").content.cloneNode(true).firstElementChild;
  row.querySelector(".file").textContent = result.name;
  const image = row.querySelector("img");
  if (result.thumbnail) {
    image.onload = () => URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(result.thumbnail);
    image.alt = `Thumbnail of ${result.name}`;
    delete result.thumbnail;
  }
  row.querySelector(".shares").append(...sharesOf(result.probabilities ?? []));
  results.push({ ...result, row });
  show(results.at(-1), threshold);
  document.getElementById("list").append(row);
}

function sharesOf(probabilities) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return order.slice(0, SHOWN).map((place) => {
    const item = document.createElement("li");
    const [name, number, meter] = ["span", "span", "meter"].map((kind) => document.createElement(kind));
    name.className = "name";
    name.textContent = name.title = about.classes[place];
    number.className = "number";
    number.textContent = percent(probabilities[place]);
    meter.value = probabilities[place];
    meter.setAttribute("aria-hidden", "true"); // the number beside it says the same
    item.append(name, number, meter);
    return item;
  });
}

// How many pictures have each label.
function summary(threshold) {
  const counts = new Map();
  for (const result of results) {
    const label = result.error ? null : labelOf(result, threshold);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const failed = counts.get(null);
  counts.delete(null);
  const labels = [...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${label}: ${count}`);
  return [...labels, ...(failed ? [`not classified: ${failed}`] : [])].join(", ");
}

// The same table as `smat predict` writes: with the mark that Excel knows UTF-8 by, and no cell that is computed.
function table(threshold) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const cell = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
  const header = ["file", "label", "probability", ...about.classes.map((name) => `p:${name}`)];
  const lines = results
    .filter(({ error }) => !error)
    .map((result) => {
      const probabilities = result.probabilities.map((p) => p.toFixed(6));
      return [cell(result.name), cell(labelOf(result, threshold)), probabilities[best(result.probabilities)], ...probabilities];
    });
  return "\ufeff" + [header, ...lines].map((line) => line.map(quoted).join(",") + "\r\n").join("");
}
