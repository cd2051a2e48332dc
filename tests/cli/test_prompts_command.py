"""`rlm prompts`, and `--prompt FILE`: what models are told can be seen, and said in another way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jinja2 import Environment, meta

from rlm.prompts import shipped

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

ROOT = Path(__file__).resolve().parents[2]
FINISH = "```repl\nanswer.update(content='done', ready=True)\n```"


def test_every_prompt_says_what_it_is():
    for path in sorted((ROOT / "prompts").glob("*.md")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert re.fullmatch(r"\{# [a-z].{10,100}[^.] #\}", first), f"{path.name} begins with {{# what it is #}}"


def test_list(rlm):
    lines = rlm("prompts", "list").out.splitlines()
    assert len(lines) == len(shipped())
    assert any(re.match(r"root +the system prompt of the root", line) for line in lines)
    told = json.loads(rlm("prompts", "list", "--json").out)["prompts"]
    assert [each["name"] for each in told] == [each.name for each in shipped()]


def test_show_is_the_template(rlm):
    out = rlm("prompts", "show", "root").out
    assert "{% if sub_calls %}" in out
    assert not out.startswith("{#")
    assert "a needle" not in rlm("prompts", "show", "tips/needle").out
    ran = rlm("prompts", "show", "fly")
    assert (ran.code, ran.out) == (2, "")
    assert "rlm prompts list" in ran.err


def test_rendered_with_the_settings_that_hold(rlm, isolated_env):
    (isolated_env / "rlm.toml").write_text('tips = "count twice"\n')
    out = rlm("prompts", "show", "root", "--rendered", "--max-turns", "7", "--depth", "2").out
    assert "{%" not in out
    for part in ("7 turns", "rlm_batch", "count twice"):
        assert part in out
    assert "rlm_batch" not in rlm("prompts", "show", "root", "--rendered").out
    assert "llm_batch" not in rlm("prompts", "show", "root", "--rendered", "--depth", "0").out
    assert "on your own" in rlm("prompts", "show", "sub", "--rendered").out
    ran = rlm("prompts", "show", "observation", "--rendered")
    assert (ran.code, ran.out) == (2, "")
    assert "within a run" in ran.err


def test_a_prompt_of_ones_own(rlm, isolated_env):
    mine = isolated_env / "mine.md"
    mine.write_text(rlm("prompts", "show", "root").out)
    usual = rlm("prompts", "show", "root", "--rendered").out
    assert rlm("prompts", "show", "mine.md", "--rendered").out == usual


@pytest.mark.parametrize("where", ["option", "project"])
def test_a_prompt_of_ones_own_is_what_the_model_is_told(ask, scripted_model, isolated_env, where):
    (isolated_env / "mine.md").write_text("Be quick: {{ limits }}.\n{% if tips %}{{ tips }}{% endif %}\n")
    server = scripted_model({"root": FINISH, "sub": "-"})
    (isolated_env / "rlm.toml").write_text('prompt = "mine.md"\n' if where == "project" else "")
    given = ["--prompt", "mine.md"] if where == "option" else []
    ran = ask(server, *given, "--tips", "look twice", "--max-turns", "4")
    assert (ran.code, ran.out) == (0, "done\n")
    assert server.requests[0].messages[0]["content"] == "Be quick: 4 turns, 60 minutes.\nlook twice"


BROKEN = {
    "syntax": ("one\n{% if tips %}\nthree", "mine.md, line 3: Unexpected end of template"),
    "unknown variable": ("one\n\n{{ tipps }}", "mine.md, line 3: 'tipps' is undefined; docs/prompts.md"),
    "unknown filter": ("{{ tips | shout }}", "mine.md, line 1: No filter named 'shout'"),
    "an error of its own": ("one\n{{ 1 // 0 }}", "mine.md, line 2: "),
    "not allowed": ("\n{{ tips.__class__ }}", "mine.md, line 2: access to attribute '__class__'"),
    "in a macro": ("{% macro m() %}\n{{ no }}\n{% endmacro %}\n{{ m() }}", "mine.md, line 2: 'no' is undefined"),
    "not a text": ("\ud800", "not UTF-8"),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN)
def test_a_template_that_cannot_be_used_is_one_line_before_anything_is_spent(
    ask, scripted_model, isolated_env, text, told
):
    (isolated_env / "mine.md").write_bytes(text.encode("utf-8", "surrogatepass"))
    server = scripted_model({"root": FINISH, "sub": "-"})
    ran = ask(server, "--prompt", "mine.md")
    assert (ran.code, ran.out, server.request_count) == (2, "", 0)
    assert len(ran.err.splitlines()) == 1
    assert told in ran.err


def test_a_template_that_is_not_there(ask, scripted_model):
    ran = ask(scripted_model(), "--prompt", "nowhere.md")
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "nowhere.md" in ran.err


def test_the_documentation_names_the_variables_that_there_are():
    """What the shipped prompt uses, and what docs/prompts.md lists."""
    source = (ROOT / "prompts" / "root.md").read_text(encoding="utf-8")
    used = meta.find_undeclared_variables(Environment().parse(source.replace("| number", "")))
    table = (
        (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8").partition("## Variables")[2].partition("\n## ")[0]
    )
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(used)
