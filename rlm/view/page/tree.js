// The tree on the left: any number of rows, of which those in sight are drawn.
"use strict";

(() => {
  const ROW = 28; // pixels
  const SPARE = 8; // rows above and below what is in sight

  class Tree {
    constructor({ onSelect }) {
      this.onSelect = onSelect;
      this.rows = [];
      this.open = new Map();
      this.selected = null;
      this.space = RLM.h("div.tree-space");
      this.box = RLM.h(
        "div.tree",
        {
          role: "tree",
          tabindex: "0",
          "aria-label": "the run's calls",
          onscroll: () => this.draw(),
          onclick: (event) => this.clicked(event),
        },
        this.space,
      );
      new ResizeObserver(() => this.draw()).observe(this.box);
    }

    show(run) {
      if (run !== this.run) this.open = new Map();
      this.run = run;
      this.update();
    }

    isOpen(node) {
      return this.open.get(node.id) ?? (node.kind === "run" || (node.kind === "turn" && node.parent.kind === "run"));
    }

    update() {
      this.rows = [];
      const walk = (node, level) => {
        this.rows.push({ node, level });
        if (this.isOpen(node)) for (const child of node.children) walk(child, level + 1);
      };
      if (this.run) walk(this.run.root, 1);
      this.space.style.height = `${this.rows.length * ROW}px`;
      this.draw();
    }

    draw() {
      const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
      const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + SPARE);
      const rows = this.rows.slice(first, last).map((row, n) => this.row(row, first + n));
      this.space.replaceChildren(...rows);
      const at = this.index();
      if (at >= first && at < last) this.box.setAttribute("aria-activedescendant", `row-${at}`);
      else this.box.removeAttribute("aria-activedescendant");
    }

    row({ node, level }, at) {
      const leads = node.children.length > 0;
      const row = RLM.h(
        `div.row.${node.kind}.${node.status}`,
        {
          id: `row-${at}`,
          role: "treeitem",
          "data-id": node.id,
          "aria-level": level,
          "aria-expanded": leads ? String(this.isOpen(node)) : null,
          "aria-selected": String(node === this.selected),
        },
        RLM.h("span.twist", {}, leads && RLM.icon("chevron")),
        RLM.icon(node.child ? "child" : node.kind),
        RLM.h("span.label", {}, RLM.h("b", {}, RLM.title(node)), " ", RLM.h("span.hint", {}, RLM.hint(node))),
        RLM.h("span.figures", {}, figures(node)),
      );
      row.style.top = `${at * ROW}px`;
      row.style.paddingInlineStart = `${(level - 1) * 15 + 6}px`;
      return row;
    }

    index() {
      return this.rows.findIndex(({ node }) => node === this.selected);
    }

    // Select a node, open what is above it, and bring it into sight.
    select(node) {
      this.selected = node;
      for (let each = node?.parent; each; each = each.parent) if (!this.isOpen(each)) this.open.set(each.id, true);
      this.update();
      const top = this.index() * ROW;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop + ROW) this.box.scrollTop = Math.max(0, top - 2 * ROW);
      else if (top + 2 * ROW > scrollTop + clientHeight) this.box.scrollTop = top + 3 * ROW - clientHeight;
    }

    clicked(event) {
      const element = event.target.closest(".row");
      const node = element && this.run.nodes.get(element.dataset.id);
      if (!node) return;
      if (event.target.closest(".twist")) this.toggle(node);
      else this.onSelect(node);
    }

    toggle(node, open = !this.isOpen(node)) {
      this.open.set(node.id, open);
      this.update();
    }

    // Keys; returns whether it was one of the tree's.
    key(name) {
      const at = Math.max(0, this.index());
      const node = this.rows[at]?.node;
      const go = (to) => {
        const row = this.rows[Math.max(0, Math.min(this.rows.length - 1, to))];
        if (row && row.node !== this.selected) this.onSelect(row.node);
      };
      const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 2);
      const actions = {
        j: () => go(at + 1),
        ArrowDown: () => go(at + 1),
        k: () => go(at - 1),
        ArrowUp: () => go(at - 1),
        g: () => go(0),
        Home: () => go(0),
        G: () => go(this.rows.length - 1),
        End: () => go(this.rows.length - 1),
        PageDown: () => go(at + page),
        PageUp: () => go(at - page),
        Enter: () => this.toggle(node),
        l: () => this.deeper(node, go, at),
        ArrowRight: () => this.deeper(node, go, at),
        h: () => this.higher(node),
        ArrowLeft: () => this.higher(node),
      };
      if (!node || !Object.hasOwn(actions, name)) return false;
      actions[name]();
      return true;
    }

    deeper(node, go, at) {
      if (!node.children.length) return;
      if (this.isOpen(node)) go(at + 1);
      else this.toggle(node, true);
    }

    higher(node) {
      if (node.children.length && this.isOpen(node) && node.parent) this.toggle(node, false);
      else if (node.parent) this.onSelect(node.parent);
    }
  }

  function figures(node) {
    const { input, output, cost } = node.total;
    if (!input && !output) return null;
    const price = cost === null ? "n/a" : cost > 0 ? RLM.money(cost) : "";
    return [
      RLM.h(
        "span.tokens",
        { title: `${RLM.number(input)} tokens in, ${RLM.number(output)} out` },
        RLM.count(input + output),
      ),
      price && RLM.h("span.cost", { title: "cost" }, price),
    ];
  }

  const TITLES = {
    run: () => "Root",
    turn: (node) => `Turn ${node.number}`,
    batch: (node) =>
      node.started?.kind === "recursive" ? RLM.plural(node.size, "child", "children") : RLM.plural(node.size, "call"),
    call: (node) => (node.child ? `Child ${node.child}` : `#${node.index}`),
    tool: (node) => node.event.name,
    compaction: (node) => `Turns ${node.event.first_turn}–${node.event.last_turn} handed over`,
  };
  RLM.title = (node) => TITLES[node.kind](node);

  const HINTS = {
    run: (node) => node.run.started?.question,
    turn: (node) => turnHint(node),
    batch: (node) => {
      const counts = node.counts;
      if (!counts) return `${RLM.number([...node.calls.values()].filter((call) => call.event).length)} done`;
      const rest = ["failed", "cached", "cancelled"]
        .filter((name) => counts[name])
        .map((name) => `${RLM.number(counts[name])} ${name}`);
      return [node.started?.model && `→ ${node.started.model}`, ...rest].filter(Boolean).join(" · ");
    },
    call: (node) => node.query?.query || RLM.promptText(node.event?.prompt) || node.event?.error?.message || "",
    tool: (node) => node.event.arguments,
    compaction: (node) => node.event.handover,
  };
  RLM.hint = (node) => RLM.oneLine(HINTS[node.kind](node), 160);

  function turnHint(node) {
    const reply = node.requests.findLast((request) => request.reply)?.reply;
    if (!reply) return node.status === "running" ? "writing …" : "";
    const prose = reply.text.split("```")[0].trim();
    return prose || (reply.code || reply.text).split("\n").find((line) => line.trim()) || "";
  }

  RLM.promptText = (prompt) => {
    if (typeof prompt === "string") return prompt;
    if (Array.isArray(prompt)) return prompt.map((message) => message?.content).join(" ");
    return (prompt && (prompt.prompt || prompt.query || RLM.promptText(prompt.messages))) || "";
  };

  RLM.Tree = Tree;
})();
