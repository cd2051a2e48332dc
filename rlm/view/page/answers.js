// The answer, and how it changed from turn to turn.
"use strict";

(() => {
  const { h } = RLM;

  RLM.answers = (rollout, final, pick) => {
    const versions = rollout.answers;
    const body = h("div");
    const text = final && RLM.ref(final.event, ...final.path);
    if (text?.text || text?.digest) body.append(RLM.textBlock(text, { first: 8000, name: "answer" }));
    else if (versions.length)
      body.append(RLM.textBlock(RLM.ref(versions.at(-1).event, "content"), { first: 8000, name: "answer" }));
    else body.append(h("div.empty", {}, "none yet"));
    if (versions.length > 1) {
      body.append(
        RLM.fold(`drafts:${rollout.name}`, `How it changed: ${RLM.plural(versions.length, "version")}`, () =>
          h(
            "div",
            {},
            versions.map((version) => RLM.answerChange(version, pick)),
          ),
        ),
      );
    }
    const over = final || rollout.end;
    const title = !over ? "Answer so far" : over.ready ? "Answer" : "Answer (best draft)";
    return h("section.card.answer", {}, h("h2", {}, title), body);
  };

  const LARGEST = 200000; // characters of a text that is compared

  RLM.answerChange = ({ event, turn, before }, pick) => {
    const ready = event.ready && h("span.pill.answered", {}, "ready");
    const box = h(
      "div.change",
      {},
      h(
        "div.change-head",
        {},
        `version ${event.version} `,
        turn && [" in ", RLM.button(RLM.title(turn), () => pick(turn), { class: "link" })],
        ready,
      ),
    );
    const whole = async (each) => {
      if (!each) return "";
      const ref = RLM.ref(each, "content");
      return ref.digest ? RLM.loadBlob(ref) : ref.text || "";
    };
    const show = (old, fresh) =>
      box.append(
        old.length + fresh.length > LARGEST
          ? h("div.gap", {}, `${RLM.number(old.length)} → ${RLM.number(fresh.length)} characters, too long to compare`)
          : RLM.diff(old, fresh),
      );
    if (event.blobs || before?.blobs)
      Promise.all([whole(before), whole(event)]).then(([old, fresh]) => show(old, fresh));
    else show(before?.content || "", event.content || "");
    return box;
  };
})();
