"""Input of a kind of your own: a loader turns a mailbox into records. Offline, with a scripted model.

    python -m examples.custom_loader [--sandbox docker|bwrap|process]

On the command line the same is `rlm ask "…" inbox.mbox --loader .mbox=examples/custom_loader.py:load_mailbox`.
"""

from __future__ import annotations

import argparse
import mailbox
import tempfile
from email.message import EmailMessage
from pathlib import Path

import rlm
from rlm.testing import ScriptedModelServer


def load_mailbox(path: Path) -> list[dict[str, str]]:
    """One record for each message; it is what `context` is in the sandbox. It runs here, outside of it."""
    records = []
    box = mailbox.mbox(path)
    for message in box:
        body = message.get_payload(decode=True)
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else ""
        records.append({"from": str(message["from"]), "subject": str(message["subject"]), "text": text})
    box.close()
    return records


ROOT = """The records are short, so code is enough.

```repl
late = [each["from"] for each in context if "overdue" in each["subject"].lower()]
raw = originals["inbox.mbox"].read_text()
answer["content"] = f"{', '.join(late)}; {len(context)} messages in {len(raw):,} characters of mailbox"
answer["ready"] = True
```"""


def write_mailbox(path: Path) -> None:
    """Three messages."""
    box = mailbox.mbox(path)
    for sender, subject in (("ann", "Lunch"), ("bob", "Invoice OVERDUE"), ("cem", "Overdue again")):
        message = EmailMessage()
        message["From"], message["Subject"] = f"{sender}@example.org", subject
        message.set_content("See above.")
        box.add(message)
    box.close()


def main() -> None:
    """Write a mailbox, register the loader, ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sandbox", default="auto")
    rlm.register_loader(".mbox", load_mailbox)
    with tempfile.TemporaryDirectory() as folder, ScriptedModelServer({"root": [ROOT]}) as server:
        inbox = Path(folder, "inbox.mbox")
        write_mailbox(inbox)
        runtime = rlm.RLM(model="root", base_url=server.base_url, no_trace=True, **vars(parser.parse_args()))
        result = runtime.run("Who writes about overdue invoices?", inputs=[inbox])
    print(result.answer)


if __name__ == "__main__":
    main()
