// A place for photos and folders: everything that is dropped or chosen is sent, a few files at a time, with the folders
// that it lay in.
const zone = element.querySelector(".drop"), said = element.querySelector(".said");
const busy = { sending: 0, done: 0, all: 0 };

async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((take, fail) => entry.file(take, fail));
    return [{ file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!some.length) break;
    for (const inner of some) found.push(...await filesOf(inner));
  }
  return found;
}

async function send(files) {
  const wanted = files.filter(({ name }) => !name.split("/").some((part) => part.startsWith(".") || part === "__MACOSX"));
  wanted.sort((one, two) => one.name.localeCompare(two.name, undefined, { numeric: true }));
  busy.all += wanted.length;
  let batch = [], begun = Date.now();
  const give = () => {
    if (batch.length) trigger("upload", { files: batch });
    [batch, begun] = [[], Date.now()];
  };
  for (let start = 0; start < wanted.length; start += 4) {
    const some = wanted.slice(start, start + 4);
    said.textContent = `sending ${busy.done + 1} of ${busy.all}: ${some[0].name}`;
    const sent = await Promise.all(some.map(async ({ file, name }) => {
      try {
        return { path: (await upload(file)).path, name };
      } catch (error) {
        trigger("error", { name });
        said.textContent = `${name} could not be sent: ${error}`;
        return null;
      }
    }));
    batch.push(...sent.filter(Boolean));
    busy.done += some.length;
    if (batch.length >= 32 || Date.now() - begun > 20000) give();
  }
  give();
  if (busy.done === busy.all) {
    said.textContent = busy.all ? `${busy.all} sent` : "There were no files in it.";
    [busy.done, busy.all] = [0, 0];
  }
}

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    event.stopPropagation();
    zone.classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
zone.addEventListener("drop", async (event) => {
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
  const loose = [...event.dataTransfer.files];
  const found = [];
  for (const [index, entry] of entries.entries()) {
    if (entry) found.push(...await filesOf(entry));
    else if (loose[index]) found.push({ file: loose[index], name: loose[index].name });
  }
  await send(found);
});
for (const input of element.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", async () => {
    const files = [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
    input.value = "";
    await send(files);
  });
}
for (const button of element.querySelectorAll("button[data-open]")) {
  button.addEventListener("click", () => element.querySelector(`input.${button.dataset.open}`).click());
}
