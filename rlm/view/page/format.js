// Figures for people, and hostile text made harmless.
"use strict";

(() => {
  // Control characters (not tab and newline), what turns the direction of writing, and lone surrogates.
  const UNSAFE = new RegExp(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2069" +
      "\\u2028\\u2029\\ufeff]|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
    "g",
  );

  const escaped = (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  };

  // `text` with every character that is not to be trusted written as its escape.
  RLM.visible = (text) => text.replace(/\r\n/g, "\n").replace(UNSAFE, escaped);

  RLM.oneLine = (text, width) => {
    const start = String(text ?? "").slice(0, 4 * width);
    const folded = RLM.visible(start.replace(/\s+/g, " ")).trim();
    return folded.length > width || String(text ?? "").length > 4 * width ? `${folded.slice(0, width - 1)}…` : folded;
  };

  RLM.count = (number) => {
    if (number < 1000) return String(number);
    return number < 999950 ? `${(number / 1000).toFixed(1)}k` : `${(number / 1e6).toFixed(1)}M`;
  };

  RLM.number = (number) => Number(number ?? 0).toLocaleString("en-US");

  RLM.plural = (number, one, many) => `${RLM.number(number)} ${number === 1 ? one : many || `${one}s`}`;

  RLM.duration = (seconds) => {
    if (seconds === null || seconds === undefined || !isFinite(seconds)) return "–";
    if (seconds < 0.0995) return `${Math.max(0, seconds * 1000).toFixed(0)} ms`;
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    if (seconds < 59.5) return `${seconds.toFixed(0)} s`;
    const whole = Math.round(seconds);
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
    const two = (value) => String(value).padStart(2, "0");
    return hours ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(rest)} s`;
  };

  RLM.bytes = (size) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let value = Number(size ?? 0);
    let unit = 0;
    while (value >= 999.5 && unit < units.length - 1) {
      value /= 1000;
      unit += 1;
    }
    return `${unit && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
  };

  // Money in the unit of the price table; null is not known.
  RLM.money = (cost) => {
    if (cost === null || cost === undefined) return "n/a";
    if (cost === 0) return "0";
    return cost < 0.00005 ? "<0.0001" : cost.toFixed(cost < 1 ? 4 : 2);
  };

  RLM.when = (ts) => {
    if (!ts) return "–";
    const at = new Date(ts * 1000);
    const two = (value) => String(value).padStart(2, "0");
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  };
})();
