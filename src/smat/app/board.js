// Photos that are selected, and what is to be done with them.
const selected = () => [...element.querySelectorAll(".photo[aria-pressed=true]")].map((each) => +each.dataset.number);

function show() {
  const count = selected().length;
  for (const each of element.querySelectorAll(".tools button, .tools .to")) each.disabled = !count;
  const text = element.querySelector(".tools .count");
  if (text && count) text.textContent = `${count} selected`;
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".photo")) {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    show();
    return;
  }
  const what = button.dataset.do;
  if (what === "remove") trigger("select", { what, numbers: selected() });
  if (what === "remove-one") trigger("select", { what: "remove", numbers: [+button.dataset.number] });
  if (what === "move-one") trigger("select", { what: "move", numbers: [+button.dataset.number], to: button.dataset.to });
  if (what === "move") {
    const to = element.querySelector(".tools .to").value;
    if (to.trim()) trigger("select", { what, numbers: selected(), to });
  }
  if (what === "remove-class") trigger("select", { what, label: button.dataset.class });
});
element.addEventListener("change", (event) => {
  const input = event.target;
  if (!input.matches("input[data-class]")) return;
  const [label, to] = [input.dataset.class, input.value];
  input.value = label; // what comes back says whether it was renamed
  if (to.trim() && to !== label) trigger("select", { what: "rename", label, to });
});
