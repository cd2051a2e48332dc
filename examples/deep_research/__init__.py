"""Deep research over a local library: tools for the sub-LLMs, a child RLM for each part, data as their answers."""
