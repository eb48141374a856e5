for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const value = (row) => {
      const cell = row.cells[column];
      if (cell.dataset.value === undefined) return cell.textContent;
      return cell.dataset.value === "" ? -Infinity : Number(cell.dataset.value);
    };
    button.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const names = typeof value(rows[0]) === "string";
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : names;
      const compare = names
        ? (a, b) => value(a).localeCompare(value(b))
        : (a, b) => (value(a) === value(b) ? 0 : value(a) - value(b));
      rows.sort((a, b) => (up ? compare(a, b) : compare(b, a)));
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    });
  });
}
