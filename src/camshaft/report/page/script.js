"use strict";
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];

  // -- light and dark ------------------------------------------------------------------------

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // -- details of what is pointed at ---------------------------------------------------------
  // Without this script, titles are shown by the browser.

  const tip = document.getElementById("tip");
  const tips = new Map();
  for (const title of all("svg title")) {
    tips.set(title.parentNode, title.textContent);
    title.parentNode.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  for (const element of all("i[title], div[title]")) {
    tips.set(element, element.title);
    element.setAttribute("aria-label", element.title);
    element.removeAttribute("title");
  }
  const tipped = (node) => {
    for (let at = node; at && at !== document; at = at.parentNode) if (tips.has(at)) return at;
    return null;
  };
  const show = (element, x, y) => {
    tip.textContent = tips.get(element);
    tip.style.display = "block";
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const left = x + 16 + width > innerWidth - 8 ? x - width - 16 : x + 16;
    const top = y + 16 + height > innerHeight - 8 ? y - height - 16 : y + 16;
    tip.style.left = `${Math.min(Math.max(8, left), Math.max(8, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
    near(element);
  };
  const hide = () => { tip.style.display = "none"; near(null); };
  const showBeside = (element) => {
    const place = element.getBoundingClientRect();
    show(element, Math.min(place.right, innerWidth - 20), Math.min(Math.max(place.top, 60), innerHeight - 60));
  };
  document.addEventListener("pointermove", (event) => {
    const element = event.pointerType === "touch" ? null : tipped(event.target);
    if (element) show(element, event.clientX, event.clientY); else hide();
  });
  document.addEventListener("scroll", hide, true);

  // -- graphs: ways of the box that is pointed at --------------------------------------------

  let lit = [];
  const near = (element) => {
    for (const way of lit) way.classList.remove("near");
    lit = [];
    const svg = element && element.classList.contains("box") && element.closest("svg");
    if (!svg) return;
    const number = String(boxesOf(svg).indexOf(element));
    lit = all(".way", svg).filter((way) => way.dataset.from === number || way.dataset.to.split(" ").includes(number));
    for (const way of lit) way.classList.add("near");
  };
  const boxes = new Map();
  const boxesOf = (svg) => {
    if (!boxes.has(svg)) boxes.set(svg, all(".box", svg));
    return boxes.get(svg);
  };

  // -- graphs: size and place ----------------------------------------------------------------

  const scaled = (view, scale, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
    const svg = view.firstElementChild, { width, height } = svg.viewBox.baseVal;
    const before = svg.getBoundingClientRect().width / width || 1;
    const [left, top] = [(view.scrollLeft + x) / before, (view.scrollTop + y) / before];
    scale = Math.min(3, Math.max(0.03, scale));
    svg.setAttribute("width", width * scale);
    svg.setAttribute("height", height * scale);
    view.scrollLeft = left * scale - x;
    view.scrollTop = top * scale - y;
    view.dataset.scale = scale;
  };
  const fitting = (view) => (view.clientWidth - 4) / view.firstElementChild.viewBox.baseVal.width;
  const whole = (view) => Math.min(fitting(view), (view.clientHeight - 4) / view.firstElementChild.viewBox.baseVal.height);
  const centre = (view, box, smooth) => {
    const a = view.getBoundingClientRect(), b = box.getBoundingClientRect();
    view.scrollBy({
      left: b.left + b.width / 2 - a.left - a.width / 2,
      top: b.top + b.height / 2 - a.top - a.height / 2,
      behavior: smooth ? "smooth" : "instant",
    });
  };
  const begin = (view) => {
    if (view.dataset.scale || !view.clientWidth) return;
    scaled(view, Math.min(1, Math.max(0.85, fitting(view))));
    const first = boxesOf(view.firstElementChild)[0];
    if (first) centre(view, first, false);
    view.scrollTop = 0;
  };
  for (const graph of all(".graph")) {
    const view = graph.querySelector(".window");
    for (const button of all("button", graph)) {
      button.addEventListener("click", () => {
        const scale = Number(view.dataset.scale);
        const sizes = { in: scale * 1.3, out: scale / 1.3, fit: Math.min(1, fitting(view)), all: whole(view) };
        scaled(view, sizes[button.dataset.zoom]);
      });
    }
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const place = view.getBoundingClientRect();
      scaled(view, Number(view.dataset.scale) * Math.exp(-event.deltaY / 300), event.clientX - place.left, event.clientY - place.top);
    }, { passive: false });
    let from = null;
    view.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      from = { x: event.clientX, y: event.clientY, left: view.scrollLeft, top: view.scrollTop };
    });
    view.addEventListener("pointermove", (event) => {
      if (!from) return;
      if (!event.buttons) { from = null; return; }
      if (Math.hypot(event.clientX - from.x, event.clientY - from.y) > 4) view.classList.add("dragged");
      if (!view.classList.contains("dragged")) return;
      view.scrollLeft = from.left + from.x - event.clientX;
      view.scrollTop = from.top + from.y - event.clientY;
    });
    addEventListener("pointerup", () => { from = null; setTimeout(() => view.classList.remove("dragged")); });
    for (const box of boxesOf(view.firstElementChild)) box.setAttribute("tabindex", -1);
    boxesOf(view.firstElementChild)[0].setAttribute("tabindex", 0);
    begin(view);
    graph.closest("details").addEventListener("toggle", () => begin(view));
  }

  // -- one step, everywhere ------------------------------------------------------------------

  const stepped = all("[data-steps]");
  const stepsOf = (element) => element.dataset.steps.split(" ");
  let chosen = "";
  const choose = (steps, from) => {
    const key = steps.join(" ");
    chosen = key === chosen ? "" : key;
    const wanted = new Set(chosen ? steps : []);
    for (const element of stepped) element.classList.toggle("hit", stepsOf(element).some((s) => wanted.has(s)));
    for (const view of all(".window")) {
      const hits = chosen ? all(".box.hit", view) : [];
      view.classList.toggle("chosen-step", hits.length > 0);
      if (hits.length && !view.contains(from)) centre(view, hits[Math.floor((hits.length - 1) / 2)], true);
    }
  };
  const chooseAt = (element) => {
    if (element && element.dataset && element.dataset.steps) choose(stepsOf(element), element);
  };
  document.addEventListener("click", (event) => {
    const pick = event.target.closest(".pick");
    if (pick) {
      const row = pick.closest("tr");
      chooseAt(row);
      if (row.classList.contains("hit")) {
        const box = document.querySelector(`.box.hit`);
        if (box) { box.closest("details").open = true; document.getElementById("graph").scrollIntoView(); }
      }
      return;
    }
    if (event.target.closest(".window.dragged")) return;
    const mark = event.target.closest(".box, .strip i");
    if (mark) {
      chooseAt(mark);
      if (mark.matches(".strip i.hit")) {
        const row = document.querySelector("tr.hit");
        if (row) row.scrollIntoView({ block: "center" });
      }
      if (tips.has(mark)) showBeside(mark);
    }
  });

  // -- keys ----------------------------------------------------------------------------------

  const moves = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  document.addEventListener("keydown", (event) => {
    const box = event.target.closest && event.target.closest(".box");
    if (event.key === "Escape") {
      hide();
      if (chosen) choose(chosen.split(" "), null);
    } else if (box && event.key in moves) {
      const row = boxesOf(box.closest("svg")), to = row[row.indexOf(box) + moves[event.key]];
      event.preventDefault();
      if (!to) return;
      box.setAttribute("tabindex", -1);
      to.setAttribute("tabindex", 0);
      to.focus({ preventScroll: true });
      centre(to.closest(".window"), to, false);
      requestAnimationFrame(() => showBeside(to));
    } else if (box && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      chooseAt(box);
    }
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(".box:focus-visible, .block:focus-visible")) showBeside(event.target);
  });
  for (const plot of all(".plot")) {
    let at = -1;
    plot.addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      const blocks = all(".block", plot);
      event.preventDefault();
      at = Math.min(blocks.length - 1, Math.max(0, at + moves[event.key]));
      showBeside(blocks[at]);
    });
    plot.addEventListener("blur", hide);
  }

  // -- the table -----------------------------------------------------------------------------

  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    return sign * (isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y);
  };
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = now === first ? other : first;
    for (const h of heads) h.setAttribute("aria-sort", h === head ? order : "none");
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.value;
    body.append(...rows.sort((a, b) => compare(value(a), value(b), sign)));
  }));
  const field = document.getElementById("filter"), count = document.getElementById("count");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, time = 0, total = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      const cell = row.classList.contains("elsewhere") ? null : row.querySelector('[data-name="time"]');
      const spent = cell ? Number(cell.dataset.value) : 0;
      total += spent;
      if (!row.hidden) { shown += 1; time += spent; }
    }
    const share = total ? `, ${(100 * time / total).toFixed(1)} % of the time` : "";
    count.textContent = words.length ? `${shown} of ${rows.length} rows${share}` : "";
  };
  field.addEventListener("input", filter);
  filter();
})();
