"""A run as OpenTelemetry spans, by the semantic conventions for generative AI.

    invoke_agent rlm                the run
      turn 1
        chat MODEL                  a request of the root
        execute_tool python         its cell
          batch 0.b1
            chat MODEL              a sub-call
            invoke_agent sub-LLM    one that takes several requests: each is a chat of its own in it
              execute_tool NAME
            invoke_agent child      a rollout of its own, with turns
          execute_tool NAME         a function of the REPL

Tokens stand on the `chat` spans and nowhere else, so that they add up to what the run used. Prompts, replies, code and
outputs are left out, unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says `true`.
"""

from __future__ import annotations

from rlm.otel.spans import Spans

__all__ = ["Spans"]
