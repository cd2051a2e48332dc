"""`rlm serve`: an OpenAI-compatible endpoint behind which each request is a run (see docs/serve.md)."""
