// Elements. Text gets into the page through here only, always as text and never as markup.
"use strict";
var RLM = {};

(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // Paths of 16 x 16 icons, drawn with strokes.
  const ICONS = {
    run: "M8 2.5v3M8 10.5v3M2.5 8h3M10.5 8h3M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5",
    turn: "M13 8a5 5 0 1 1-1.6-3.7M11.8 1.8v2.8H9",
    batch: "M2.5 4h11M2.5 8h8M2.5 12h5",
    call: "M2.5 3.5h11v7H8l-3 2.5v-2.5H2.5z",
    child: "M4 2.5v5a2 2 0 0 0 2 2h6M9.5 7 12 9.5 9.5 12",
    tool: "M10 2.8a3.2 3.2 0 0 0-3 4.3L2.6 11.5 4.5 13.4 8.9 9a3.2 3.2 0 0 0 4.2-4.1L11.2 6.8 9.2 4.8 11.1 2.9",
    compaction: "M8 1.5v4.5M5.800 4 8 6.200 10.200 4M8 14.5v-4.5M5.800 12 8 9.800 10.200 12M2.5 8h11",
    search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.3 10.3l3.2 3.2",
    chevron: "M6 3.5 10.5 8 6 12.5",
  };

  // h("div.card", {title: "…", onclick: f}, child, "text", [more], null)
  RLM.h = (what, attributes, ...children) => {
    const [tag, ...classes] = what.split(".");
    const element = document.createElement(tag || "div");
    if (classes.length) element.className = classes.join(" ");
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "value" || name === "checked" || name === "open") element[name] = value;
      else element.setAttribute(name, value === true ? "" : RLM.visible(String(value)));
    }
    RLM.append(element, children);
    return element;
  };

  RLM.append = (element, children) => {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(RLM.visible(String(child))));
    }
    return element;
  };

  RLM.icon = (name) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("class", `icon icon-${name}`);
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  };

  RLM.button = (label, onclick, attributes) => RLM.h("button", { type: "button", onclick, ...attributes }, label);

  // A part that can be folded; whether it is open is remembered by `key` while the page is there.
  const open = new Map();
  RLM.fold = (key, title, build, { isOpen = false, aside = null } = {}) => {
    const body = RLM.h("div.fold-body");
    const fill = () => {
      if (!body.childNodes.length) RLM.append(body, [build()]);
    };
    const head = RLM.h(
      "summary",
      { onclick: fill },
      RLM.icon("chevron"),
      RLM.h("span.fold-title", {}, title),
      aside && RLM.h("span.aside", {}, aside),
    );
    const details = RLM.h("details.fold", { open: open.has(key) ? open.get(key) : isOpen }, head, body);
    details.addEventListener("toggle", () => {
      open.set(key, details.open);
      if (details.open) fill();
    });
    details.reveal = () => {
      details.open = true;
      fill();
    };
    if (details.open) fill();
    return details;
  };
})();
