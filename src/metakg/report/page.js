(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const scenarios = all("[data-filter]"), groups = all("[data-group]");
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const show = () => {
    const wanted = scenarios.find(b => b.getAttribute("aria-pressed") === "true")?.dataset.filter || "";
    all("[data-scenario]").forEach(e => { e.hidden = wanted !== "" && e.dataset.scenario !== wanted; });
    const off = new Set(groups.filter(b => b.getAttribute("aria-pressed") !== "true").map(b => b.dataset.group));
    all("[data-model-group]").forEach(e => { e.hidden = off.has(e.dataset.modelGroup); });
    history.replaceState(null, "", wanted ? "?scenario=" + wanted + location.hash : location.pathname + location.hash);
  };
  scenarios.forEach(b => b.addEventListener("click", () => { scenarios.forEach(o => press(o, o === b)); show(); }));
  groups.forEach(b => b.addEventListener("click", () => { press(b, b.getAttribute("aria-pressed") !== "true"); show(); }));
  all("table.scores").forEach(table => all("thead th", table).forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      all("thead th", table).forEach(o => o.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => column ? Number(row.cells[column].dataset.value ?? -1) : row.cells[0].textContent;
      const rows = all("tbody tr", table).sort((a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
      table.tBodies[0].append(...(down ? rows.reverse() : rows));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(); } });
  }));
  addEventListener("beforeprint", () => all("details").forEach(e => { e.open = true; }));
  const asked = new URLSearchParams(location.search).get("scenario");
  const button = scenarios.find(b => b.dataset.filter === asked);
  if (asked && button) button.click();
})();
