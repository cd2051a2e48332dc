// Python code in colours: a few kinds of words, no more.
"use strict";

(() => {
  const TOKEN = new RegExp(
    [
      "(?<comment>#[^\\n]*)",
      "(?<string>[rbfuRBFU]{0,2}(?:\"\"\"[\\s\\S]*?(?:\"\"\"|$)|'''[\\s\\S]*?(?:'''|$)|\"(?:\\\\.|[^\"\\\\\\n])*\"?|'(?:\\\\.|[^'\\\\\\n])*'?))",
      "(?<number>\\b\\d[\\w.]*)",
      "(?<word>[A-Za-z_]\\w*)",
    ].join("|"),
    "g",
  );

  const KEYWORDS = new Set(
    (
      "False None True and as assert async await break class continue def del elif else except finally for " +
      "from global if import in is lambda nonlocal not or pass raise return try while with yield match case"
    ).split(" "),
  );
  const OURS = new Set(
    (
      "context answer llm_query llm_batch llm_query_batched rlm_query rlm_batch rlm_query_batched history budget " +
      "SHOW_VARS CallError"
    ).split(" "),
  );

  RLM.python = (code) => {
    const nodes = [];
    let at = 0;
    for (const match of code.matchAll(TOKEN)) {
      const kind = kindOf(match);
      if (!kind) continue;
      nodes.push(code.slice(at, match.index), RLM.h(`span.${kind}`, {}, match[0]));
      at = match.index + match[0].length;
    }
    return [...nodes, code.slice(at)];
  };

  function kindOf({ groups }) {
    if (groups.comment) return "py-comment";
    if (groups.string) return "py-string";
    if (groups.number) return "py-number";
    if (KEYWORDS.has(groups.word)) return "py-keyword";
    return OURS.has(groups.word) ? "py-ours" : null;
  }
})();
