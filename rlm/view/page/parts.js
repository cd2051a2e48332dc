// Parts that the views are made of: cards, figures, messages.
"use strict";

(() => {
  const { h } = RLM;

  RLM.card = (title, ...children) => h("section.card", {}, title && h("h2", {}, title), children);

  RLM.titled = (title, ...children) => h("div.titled", {}, h("h3", {}, title), children);

  RLM.pill = (status, label = status) =>
    h(`span.pill.${String(status).replace(/\W/g, "")}`, {}, String(label).replaceAll("_", " "));

  RLM.statusOf = (run) => {
    if (run.result) return run.result.stop_reason;
    if (run.lost) return "disconnected";
    return run.goesOn ? "running" : "killed";
  };

  RLM.figure = (name, value, note) =>
    h(
      "div.figure",
      {},
      h("div.figure-name", {}, name),
      h("div.figure-value", {}, value),
      note && h("div.figure-note", {}, note),
    );

  RLM.figures = (...figures) => h("div.figures-row", {}, figures);

  RLM.tokens = (usage) => {
    const about = usage.estimated ? "~" : "";
    return `${about}${RLM.count(usage.input ?? usage.input_tokens)} in · ${about}${RLM.count(usage.output ?? usage.output_tokens)} out`;
  };

  RLM.table = (head, rows) =>
    h(
      "table",
      {},
      head &&
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((cell) => h("th", {}, cell)),
          ),
        ),
      h(
        "tbody",
        {},
        rows.map((cells) =>
          h(
            "tr",
            {},
            cells.map((cell) => (cell instanceof Element && cell.tagName === "TD" ? cell : h("td", {}, cell))),
          ),
        ),
      ),
    );

  RLM.pairs = (object) =>
    RLM.table(
      null,
      Object.entries(object).map(([name, value]) => [
        h("td.name", {}, name),
        typeof value === "string" || typeof value === "number" ? String(value) : JSON.stringify(value),
      ]),
    );

  RLM.crumbs = (node, onPick) => {
    const way = [];
    for (let each = node; each; each = each.parent) way.unshift(each);
    return h(
      "nav.crumbs",
      { "aria-label": "where it stands" },
      way.map((each, n) => [
        n > 0 && h("span.sep", {}, "›"),
        each === node
          ? h("b", {}, RLM.title(each))
          : RLM.button(RLM.title(each), () => onPick(each), { class: "link" }),
      ]),
    );
  };

  // --- messages: { message, event, path }, or with `text` in place of an event

  RLM.messages = (entries, { kept = 0, name = "messages" } = {}) => {
    const old = entries.slice(0, kept);
    const key = `${name}:${entries.at(-1)?.event?._n}`;
    return h(
      "div.messages",
      {},
      old.length > 0 &&
        RLM.fold(`${key}:old`, `${RLM.plural(old.length, "message")} as in the request before`, () =>
          h("div.messages", {}, old.map(message)),
        ),
      entries.slice(kept).map(message),
    );
  };

  function message(entry) {
    const { role, content, tool_calls: calls, tool_call_id: id } = entry.message;
    return h(
      "div.message",
      { "data-role": role },
      h("div.message-role", {}, role, id && h("span.hint", {}, ` answers ${id}`)),
      h(
        "div.message-body",
        {},
        parts(entry, content),
        (calls || []).map((call) =>
          h(
            "div.tool-call",
            {},
            h("span.hint", {}, `calls ${call.id}: `),
            h("code", {}, `${call.function?.name}(${call.function?.arguments})`),
          ),
        ),
      ),
    );
  }

  function parts(entry, content) {
    const ref = (...path) => (entry.event ? RLM.ref(entry.event, ...entry.path, ...path) : RLM.plainRef(content));
    if (content === null || content === undefined) return null;
    if (!Array.isArray(content)) return RLM.textBlock(ref("content"), { name: `${entry.message.role} message` });
    return content.map((part, n) => (part.type === "text" ? RLM.textBlock(ref("content", n, "text")) : media(part)));
  }

  const media = (part) =>
    h(
      "div.image",
      {},
      `[${part.mime || part.format || part.type}, ${RLM.plural(part.characters || 0, "character")} of base64, not kept]`,
    );

  // What was sent for a sub-call: its conversation if it had one, else the system prompt and the prompt.
  RLM.sentBy = (call) => {
    const event = call.event;
    if (!event || event.prompt === undefined) return null;
    if (event.messages) return event.messages.map((each, n) => ({ message: each, event, path: ["messages", n] }));
    const prompt = event.prompt;
    const own = prompt && typeof prompt === "object" && !Array.isArray(prompt) ? prompt : null;
    const path = own ? ["prompt", own.messages ? "messages" : "prompt"] : ["prompt"];
    const body = own ? own.messages || own.prompt : prompt;
    if (own && body === undefined) return [{ message: { role: "user" }, event: null, ref: RLM.ref(event, "prompt") }];
    let entries;
    if (Array.isArray(body)) entries = body.map((each, n) => ({ message: each, event, path: [...path, n] }));
    else entries = [{ message: { role: "user", content: body }, event: null, ref: RLM.ref(event, ...path) }];
    for (const kind of ["images", "audio"]) if (own?.[kind]?.length) entries.push({ media: own[kind], kind });
    const system = systemOf(call, own);
    return system && body?.[0]?.role !== "system" ? [system, ...entries] : entries;
  };

  function systemOf(call, own) {
    const message = (text) => ({ role: "system", content: text });
    if (own && "system" in own)
      return own.system
        ? { message: message(own.system), event: null, ref: RLM.ref(call.event, "prompt", "system") }
        : null;
    const { run } = call.batch;
    const batch = call.batch.started;
    const withTools = batch?.tools && (!own || own.tools !== false);
    const [event, name] =
      batch && "system" in batch
        ? [batch, "system"]
        : withTools && run.tools
          ? [run.tools, "system"]
          : [run.started, "sub_system"];
    return event?.[name] ? { message: message(event[name]), event: null, ref: RLM.ref(event, name) } : null;
  }

  RLM.callMessages = (entries) =>
    h(
      "div.messages",
      {},
      entries.map((entry) => {
        if (entry.media)
          return h(
            "div.message",
            {},
            h("div.message-role", {}, entry.kind),
            h("div.message-body", {}, entry.media.map(media)),
          );
        if (!entry.ref) return message(entry);
        return h(
          "div.message",
          { "data-role": entry.message.role },
          h("div.message-role", {}, entry.message.role),
          h("div.message-body", {}, RLM.textBlock(entry.ref, { name: `${entry.message.role} message` })),
        );
      }),
    );

  // --- a view: parts by key, each built anew only when its stamp has changed

  RLM.refresh = (box, list) => {
    const parts = box.parts || new Map();
    const wanted = list.filter(Boolean);
    const kept = new Map();
    for (const { key, stamp, build } of wanted) {
      const old = parts.get(key);
      kept.set(key, old && old.stamp === stamp ? old : { stamp, element: build() });
    }
    box.parts = kept;
    const elements = [...kept.values()].map((part) => part.element).filter(Boolean);
    // Only what is new is put in place, so that the others keep their scroll positions and selections.
    for (const child of [...box.childNodes]) if (!elements.includes(child)) child.remove();
    elements.forEach((element, n) => {
      if (box.childNodes[n] !== element) box.insertBefore(element, box.childNodes[n] || null);
    });
  };
})();
