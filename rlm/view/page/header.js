// The bar at the top, the list of what a search has found, and the help.
"use strict";

(() => {
  const { h } = RLM;

  RLM.header = (bar, { onSearch, onStep, onFollow, live }) => {
    const title = h("div.top-title");
    const status = h("span.top-status");
    const input = h("input", {
      type: "search",
      placeholder: "Search  /",
      "aria-label": "search all texts of the run",
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => onSearch(input.value),
      onkeydown: (event) => {
        if (event.key === "Enter") onStep(event.shiftKey ? -1 : 1);
        else if (event.key === "Escape") {
          input.value = "";
          onSearch("");
          input.blur();
        } else return;
        event.preventDefault();
      },
    });
    const follow = RLM.button("Follow", onFollow, {
      class: "follow",
      title: "go along with the run (f)",
      "aria-pressed": "false",
    });
    const compare = h("a.button", { title: "side by side with another run" }, "Compare");
    const help = RLM.button("?", () => RLM.help(), { class: "help", title: "keys (?)", "aria-label": "keys" });
    const brand = h(
      live ? "a.brand" : "span.brand",
      live ? { href: "#/", title: "all runs" } : {},
      RLM.icon("run"),
      "rlm",
    );
    bar.replaceChildren(brand, title, status, h("label.search", {}, RLM.icon("search"), input), follow, compare, help);
    return {
      input,
      show: (run, following) => {
        title.replaceChildren(run ? document.createTextNode(RLM.oneLine(run.started?.question || run.id, 200)) : "");
        title.title = run ? run.id : "";
        status.replaceChildren(...(run ? [RLM.pill(RLM.statusOf(run))] : []));
        for (const element of [input.parentElement, compare]) element.hidden = !run || (element === compare && !live);
        follow.hidden = !run || !run.goesOn;
        follow.setAttribute("aria-pressed", String(following));
        if (run) compare.href = `#/pick/${encodeURIComponent(run.id)}`;
      },
    };
  };

  const FIELDS = {
    "run.started/question": "question",
    "root.requested/messages": "message sent",
    "root.completed/text": "reply",
    "cell.completed/output": "output",
    "cell.completed/error": "error",
    "call.completed/prompt": "prompt",
    "call.completed/messages": "message sent",
    "call.completed/text": "reply",
    "call.completed/error": "error",
    "child.started/query": "query",
    "answer.changed/content": "draft of the answer",
    "run.completed/result": "result",
    "call.replied/text": "reply",
    "tool.completed/output": "tool's output",
    "tool.completed/arguments": "tool's arguments",
    "compaction.completed/handover": "handover",
  };

  RLM.foundList = ({ query, hits, at, more, onPick }) =>
    h(
      "div.found",
      { role: "listbox", "aria-label": "found" },
      h(
        "div.found-head",
        {},
        hits.length ? `${RLM.plural(hits.length, "text")}${more ? " and more" : ""}` : "nothing found",
      ),
      hits.map((hit, n) => {
        const node = hit.event._node || hit.event._run.root;
        return h(
          "button.hit",
          { type: "button", role: "option", "aria-selected": String(n === at), onclick: () => onPick(n) },
          h(
            "span.hit-head",
            {},
            h("b", {}, way(node)),
            " ",
            FIELDS[`${hit.event.type}/${hit.path[0]}`] || `${hit.event.type} ${hit.path[0]}`,
            hit.count > 1 && h("span.hit-count", {}, `${RLM.number(hit.count)}×`),
          ),
          h("span.hit-text", {}, marked(hit.excerpt, query)),
        );
      }),
    );

  function way(node) {
    const names = [];
    for (let each = node; each?.parent; each = each.parent) names.unshift(RLM.title(each));
    return names.slice(-3).join(" › ") || RLM.title(node);
  }

  function marked(excerpt, query) {
    const line = RLM.visible(excerpt.replace(/\s+/g, " "));
    const nodes = [];
    let at = 0;
    for (const match of line.matchAll(RLM.pattern(RLM.visible(query.replace(/\s+/g, " "))))) {
      nodes.push(line.slice(at, match.index), h("mark", {}, match[0]));
      at = match.index + match[0].length;
    }
    return [...nodes, line.slice(at)];
  }

  const KEYS = [
    ["j k ↓ ↑", "down and up in the tree"],
    ["Enter", "open and close"],
    ["→ l", "open, or one deeper"],
    ["← h", "close, or one higher"],
    ["g G", "to the first and the last row"],
    ["/", "search"],
    ["n N", "the next and the previous place found"],
    ["Esc", "leave the search"],
    ["f", "follow a run that goes on"],
    ["?", "this help"],
  ];

  RLM.help = () => {
    const old = document.querySelector("dialog");
    if (old) {
      old.remove();
      return;
    }
    const dialog = h(
      "dialog.keys",
      { onclose: () => dialog.remove() },
      h("h2", {}, "Keys"),
      RLM.table(
        null,
        KEYS.map(([keys, what]) => [
          h(
            "td.name",
            {},
            keys.split(" ").map((key) => h("kbd", {}, key)),
          ),
          what,
        ]),
      ),
      h(
        "form",
        { method: "dialog" },
        h(
          "button",
          {
            autofocus: true,
            onclick: (event) => {
              event.preventDefault();
              dialog.close();
            },
          },
          "Close",
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  };
})();
