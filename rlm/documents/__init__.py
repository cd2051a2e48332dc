"""Documents as text: a limited process parses untrusted files, and what comes of it is cached by content."""
