// Long texts: the first part is shown, more on request, in pieces that the browser skips while they are out of sight.
"use strict";

(() => {
  const FIRST = 4000; // characters
  const PIECE = 20000;
  const shown = new Map(); // characters by text, so that a text stays open when its surroundings are drawn again
  const loaded = new Map(); // large texts by digest

  // A text of an event: where it stands, what the event holds of it, and under which name the whole of it is kept.
  RLM.pointer = (path) => path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  RLM.keyOf = (event, path) => `${event._run?.id}:${event._n}${RLM.pointer(path)}`;

  RLM.ref = (event, ...path) => {
    const pointer = RLM.pointer(path);
    let value = event;
    for (const step of path) value = value?.[step];
    const digest = event.blobs?.[pointer] || null;
    const text = loaded.has(digest) ? loaded.get(digest).text : value;
    return {
      key: RLM.keyOf(event, path),
      run: event._run?.id,
      text,
      digest: loaded.has(digest) ? null : digest,
      cut: loaded.get(digest)?.cut,
    };
  };

  RLM.plainRef = (text) => ({ key: null, text, digest: null });

  RLM.loadBlob = async ({ digest, run }) => {
    if (!loaded.has(digest)) loaded.set(digest, await RLM.source.blob(run, digest));
    return loaded.get(digest).text;
  };

  // options: `lines` (a gutter with line numbers), `paint` (text -> nodes), `first` (characters), `name` of the text
  RLM.textBlock = (ref, options = {}) => {
    const block = RLM.h("div.text", { "data-key": ref.key, role: "group", "aria-label": options.name });
    draw(block, ref, options);
    block.reveal = async (at) => {
      if (ref.digest) await fetchInto(block, ref, options);
      if (at > limit(ref, options) - 200) {
        shown.set(ref.key, at + FIRST);
        draw(block, ref, options);
      }
    };
    return block;
  };

  const limit = (ref, options) => Math.max(options.first || FIRST, shown.get(ref.key) || 0);

  function draw(block, ref, options) {
    const text = typeof ref.text === "string" ? ref.text : JSON.stringify(ref.text ?? null, null, 1);
    const upTo = end(text, limit(ref, options));
    const pieces = [];
    if (options.paint && upTo <= PIECE) {
      const pre = RLM.h("pre.piece.code", {}, options.paint(text.slice(0, upTo)));
      pieces.push(options.lines ? RLM.h("div.numbered", {}, gutter(text.slice(0, upTo)), pre) : pre);
    } else {
      for (let at = 0; at < upTo;) {
        const to = at + PIECE >= upTo ? upTo : end(text, at + PIECE, at + PIECE / 2);
        // A newline at the end of a piece is the break between two blocks.
        pieces.push(RLM.h("pre.piece", {}, text.slice(at, to).replace(/\n$/, "")));
        at = to;
      }
    }
    if (!text) pieces.push(RLM.h("span.empty", {}, "(empty)"));
    block.replaceChildren(...pieces, ...more(block, ref, options, text, upTo));
  }

  function more(block, ref, options, text, upTo) {
    const show = (characters) => () => {
      shown.set(ref.key, characters);
      draw(block, ref, options);
    };
    const parts = [];
    if (ref.digest) {
      const load = RLM.button("load all of it", () => fetchInto(block, ref, options));
      parts.push(RLM.h("div.more", {}, "the beginning of a long text", load));
    } else if (upTo < text.length) {
      const left = text.length - upTo;
      parts.push(
        RLM.h(
          "div.more",
          {},
          `${RLM.number(left)} more characters`,
          left > 10 * FIRST && RLM.button("show more", show(upTo + 10 * FIRST)),
          RLM.button("show all", show(text.length)),
        ),
      );
    } else if (ref.cut) {
      parts.push(
        RLM.h(
          "div.more",
          {},
          `cut here: ${RLM.number(text.length)} of ${RLM.number(ref.cut)} characters are in this file`,
        ),
      );
    }
    return parts;
  }

  async function fetchInto(block, ref, options) {
    try {
      ref.text = await RLM.loadBlob(ref);
      ref.cut = loaded.get(ref.digest).cut;
      ref.digest = null;
      if (ref.text.length <= 10 * FIRST) shown.set(ref.key, ref.text.length);
    } catch (error) {
      block.append(RLM.h("div.more.bad", {}, String(error.message || error)));
      return;
    }
    draw(block, ref, options);
  }

  // Where to cut: after a line if one ends nearby, and never inside a surrogate pair.
  function end(text, at, atLeast = at * 0.8) {
    if (at >= text.length) return text.length;
    const line = text.lastIndexOf("\n", at - 1) + 1;
    if (line > atLeast) return line;
    const code = text.charCodeAt(at - 1);
    return code >= 0xd800 && code < 0xdc00 ? at + 1 : at;
  }

  function gutter(text) {
    const lines = text.replace(/\n$/, "").split("\n").length;
    return RLM.h("pre.gutter", { "aria-hidden": "true" }, Array.from({ length: lines }, (_, n) => n + 1).join("\n"));
  }
})();
