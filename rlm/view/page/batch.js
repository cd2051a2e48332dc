// A batch with its timeline, and one call with its prompt, its reply and its tools.
"use strict";

(() => {
  const { h } = RLM;

  RLM.batchView = (batch, pick) => [
    { key: "head", stamp: batch.version, build: () => head(batch, pick) },
    { key: "timeline", stamp: batch.version, build: () => RLM.card("Calls over time", RLM.timeline(batch, pick)) },
    { key: "failures", stamp: batch.version, build: () => failures(batch, pick) },
    batch.started && { key: "asked", stamp: 0, build: () => asked(batch) },
    batch.size === 1 &&
      batch.calls.size === 1 &&
      only(batch).event && {
        key: "only",
        stamp: batch.version,
        build: () => h("div.stack", {}, callCards(only(batch))),
      },
  ];

  const only = (batch) => batch.calls.values().next().value;

  function head(batch, pick) {
    const { counts, started } = batch;
    const done = [...batch.calls.values()].filter((call) => call.event);
    const count = (status) => (counts ? counts[status] : done.filter((call) => call.status === status).length);
    const times = done
      .filter((call) => call.status === "ok")
      .map((call) => call.event.seconds - call.event.waited)
      .sort((a, b) => a - b);
    const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))];
    return h(
      "section.card.head",
      {},
      RLM.crumbs(batch, pick),
      RLM.figures(
        RLM.figure(
          started?.kind === "recursive" ? "Children" : "Calls",
          RLM.number(batch.size),
          started?.loop ? `ahead of the loop in line ${started.loop}` : null,
        ),
        RLM.figure(
          "Ok",
          RLM.number(count("ok")),
          count("cached") ? `${RLM.number(count("cached"))} from the memo` : null,
        ),
        RLM.figure(
          "Failed",
          RLM.number(count("failed")),
          count("cancelled") ? `${RLM.number(count("cancelled"))} cancelled` : null,
        ),
        RLM.figure("Model", started?.model ?? "–"),
        RLM.figure(
          "Time",
          RLM.duration(counts?.seconds),
          times.length > 1 ? `a call: median ${RLM.duration(at(0.5))}, 95% ${RLM.duration(at(0.95))}` : null,
        ),
        RLM.figure("Tokens", RLM.count(batch.total.input + batch.total.output), RLM.tokens(batch.total)),
        RLM.figure("Cost", RLM.money(batch.total.cost)),
      ),
    );
  }

  function failures(batch, pick) {
    const failed = [...batch.calls.values()].filter((call) => call.status === "failed");
    if (!failed.length) return null;
    const shown = failed.slice(0, 20).map((call) =>
      h(
        "li",
        {},
        RLM.button(RLM.title(call), () => pick(call), { class: "link" }),
        " ",
        h("b", {}, call.event.error.kind),
        ` ${RLM.oneLine(call.event.error.message, 240)}`,
      ),
    );
    return RLM.card(
      "What failed",
      h("ul.incidents", {}, shown),
      failed.length > 20 && h("div.hint", {}, `and ${RLM.number(failed.length - 20)} more`),
    );
  }

  function asked(batch) {
    const { started } = batch;
    const said = {
      max_tokens: started.max_tokens,
      ...(started.params || {}),
      ...(started.tools ? { tools: "yes" } : {}),
    };
    return RLM.card(
      "As asked",
      RLM.pairs(said),
      started.schema &&
        RLM.fold(`schema:${batch.id}`, "Schema of the replies", () =>
          RLM.textBlock(RLM.plainRef(JSON.stringify(started.schema, null, 2))),
        ),
      started.system &&
        RLM.fold(`system:${batch.id}`, "System prompt", () => RLM.textBlock(RLM.ref(started, "system"))),
    );
  }

  RLM.callView = (call, pick) => [
    { key: "head", stamp: call.version, build: () => callHead(call, pick) },
    { key: "cards", stamp: call.version, build: () => h("div.stack", {}, callCards(call)) },
  ];

  function callHead(call, pick) {
    const { event } = call;
    return h(
      "section.card.head",
      {},
      RLM.crumbs(call, pick),
      RLM.figures(
        RLM.figure("Status", RLM.pill(call.status, event?.cached ? "from the memo" : call.status)),
        RLM.figure("Model", event?.model ?? "–"),
        event &&
          RLM.figure(
            "Time",
            RLM.duration(event.seconds - event.waited),
            event.waited > 0.001 ? `waited ${RLM.duration(event.waited)} for a place` : null,
          ),
        event && RLM.figure("Tokens", RLM.count(event.input_tokens + event.output_tokens), RLM.tokens(event)),
        RLM.figure("Cost", RLM.money(call.total.cost)),
        event?.attempts > 1 && RLM.figure("Requests", RLM.number(event.attempts), "retries included"),
      ),
    );
  }

  function callCards(call) {
    if (!call.event) return underWay(call);
    const sent = RLM.sentBy(call);
    return [
      sent
        ? RLM.card(
            "Messages sent",
            call.event.depth_limited &&
              h("div.banner", {}, "The depth limit was reached: query and context went out as one prompt."),
            RLM.callMessages(sent),
          )
        : RLM.card(
            "Messages sent",
            h(
              "div.empty",
              {},
              call.status === "cached" ? "No request was made: the reply was remembered." : "No request was made.",
            ),
          ),
      RLM.callReply(call),
      call.tools.length > 0 && RLM.card("Tools", call.tools.map(toolFold)),
    ];
  }

  const underWay = (call) => [
    h("div.empty", {}, "under way"),
    call.replies.length > 0 &&
      RLM.card(
        "Replies so far",
        call.replies.map((event) => RLM.textBlock(RLM.ref(event, "text"), { name: "reply" })),
      ),
    call.tools.length > 0 && RLM.card("Tools", call.tools.map(toolFold)),
  ];

  RLM.callReply = (call) => {
    const { event } = call;
    return RLM.card(
      event.error ? "Error" : "Reply",
      event.error &&
        h(
          "div.error",
          {},
          h("b", {}, `${event.error.kind}: `),
          RLM.textBlock(RLM.ref(event, "error", "message"), { name: "error" }),
        ),
      event.error?.text && RLM.titled("The reply, which was of no use", RLM.textBlock(RLM.ref(event, "error", "text"))),
      event.text !== undefined && RLM.textBlock(RLM.ref(event, "text"), { first: 8000, name: "reply" }),
      event.text === undefined && !event.error && h("div.empty", {}, "It stands where the same was asked first."),
      event.data !== undefined &&
        RLM.titled("As data", RLM.textBlock(RLM.plainRef(JSON.stringify(event.data, null, 2)))),
    );
  };

  const toolFold = (node) =>
    RLM.fold(
      node.id,
      h(
        "span",
        {},
        h("code", {}, RLM.oneLine(`${node.event.name}(${node.event.arguments})`, 120)),
        node.event.failed && [" ", RLM.pill("failed")],
      ),
      () => toolBody(node.event),
      { aside: RLM.duration(node.event.seconds), isOpen: true },
    );

  const toolBody = (event) =>
    h(
      "div",
      {},
      RLM.titled("Arguments", RLM.textBlock(RLM.ref(event, "arguments"), { name: "arguments" })),
      RLM.titled(event.failed ? "Error" : "Output", RLM.textBlock(RLM.ref(event, "output"), { name: "output" })),
    );

  RLM.toolView = (node, pick) => [
    {
      key: "tool",
      stamp: 0,
      build: () =>
        h(
          "section.card.head",
          {},
          RLM.crumbs(node, pick),
          RLM.figures(
            RLM.figure("Status", RLM.pill(node.status)),
            RLM.figure("Time", RLM.duration(node.event.seconds)),
          ),
          toolBody(node.event),
        ),
    },
  ];
})();
