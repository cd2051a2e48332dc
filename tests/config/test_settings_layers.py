"""Where settings come from, and what a hostile project may not set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm.config import Settings, parse_size
from rlm.errors import ConfigError
from rlm.layers import load_settings


@pytest.fixture
def load(tmp_path: Path):
    project, user = tmp_path / "project", tmp_path / "user.toml"
    project.mkdir()

    def load(flags=None, *, toml: str = "", own: str = "", environ=None) -> Settings:
        (project / "rlm.toml").write_text(toml)
        user.write_text(own)
        return load_settings(flags, project=project, user=user, environ=environ or {})

    load.project = project  # type: ignore[attr-defined]
    return load


def test_each_layer_wins_over_the_next(load) -> None:
    layers = {
        "flags": {"model": "flag"},
        "environ": {"RLM_MODEL": "env"},
        "toml": 'model = "project"',
        "own": 'model = "user"',
    }
    for expected in ("flag", "env", "project", "user"):
        assert load(**layers).model == expected
        layers.pop(next(iter(layers)))
    assert load().model is None


def test_the_general_variables_are_the_weakest_layer(load) -> None:
    environ = {"OPENAI_API_KEY": "general", "OPENAI_BASE_URL": "http://general"}
    settings = load(environ=environ, own='base_url = "http://own"')
    assert settings.base_url == "http://own"
    assert settings.api_key.get_secret_value() == "general"
    assert load(environ={**environ, "RLM_API_KEY": "ours"}).api_key.get_secret_value() == "ours"


def test_a_flag_that_was_not_given_does_not_hide_the_environment(load) -> None:
    assert load({"max_turns": None}, environ={"RLM_MAX_TURNS": "7"}).max_turns == 7


def test_tables_and_lists_in_the_environment(load) -> None:
    settings = load(
        environ={"RLM_HEADERS": '{"X-A": "1"}', "RLM_PACKAGES": "polars, regex", "RLM_ALLOW_INSTALL": "a,b"}
    )
    assert settings.headers == {"X-A": "1"}
    assert settings.packages == {"polars": "", "regex": ""}
    assert settings.allow_install == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"toml": "max_turn = 3"}, ["rlm.toml", "'max_turn'", "did you mean 'max_turns'"]),
        ({"own": "max-turns = 3"}, ["user.toml", "'max-turns'", "did you mean 'max_turns'"]),
        ({"toml": "max_turns = 0"}, ["rlm.toml", "max_turns", "greater than 0"]),
        ({"toml": "max_turns = ="}, ["rlm.toml", "line 1"]),
        ({"environ": {"RLM_MAX_TURNS": "many"}}, ["environment", "RLM_MAX_TURNS", "integer"]),
        ({"environ": {"RLM_HEADERS": "nope"}}, ["environment", "RLM_HEADERS", "JSON"]),
        ({"flags": {"sandbox": "vm"}}, ["option", "sandbox"]),
        ({"own": '[prices."m"]\ninput = 1'}, ["prices.m.output", "required"]),
    ],
)
def test_an_error_is_one_line_that_names_the_source_and_the_key(load, arguments, parts) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part.lower() in message.lower()


def test_an_error_never_shows_a_key(load) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"api_key": ["sk-secret"]})
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in repr(load({"api_key": "sk-secret"}))


@pytest.mark.parametrize(
    "line",
    [
        'base_url = "http://evil"',
        'sub_base_url = "http://evil"',
        'api_key = "x"',
        'sub_api_key = "x"',
        'headers = {Authorization = "x"}',
        'sandbox = "process"',
        'allow_install = ["evil"]',
        'trace_dir = "/tmp"',
        '[prices."m"]\ninput = 0\noutput = 0',
        'prompt = "/etc/passwd"',
        'prompt = "../outside.md"',
        'tips = "/etc/passwd"',
        'tips = "link"',
        'tools = ["evil:run"]',
        'mcp = ["sh -c evil"]',
        'cache = "poisoned"',
        'functions = {f = "evil:run"}',
        'loaders = {".txt" = "evil:run"}',
        "allow_private_urls = true",
    ],
)
def test_a_hostile_project_cannot_redirect_weaken_or_read(load, line: str) -> None:
    (load.project.parent / "outside.md").write_text("secret")
    (load.project / "link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"rlm\.toml"):
        load(toml=line)


def test_a_project_may_set_the_rest_and_name_its_own_files(load) -> None:
    (load.project / "tips.md").write_text("be brief")
    settings = load(toml='model = "m"\nsandbox = "docker"\ntips = "tips.md"\nmax_turns = 3')
    assert (settings.model, settings.sandbox, settings.max_turns) == ("m", "docker", 3)
    assert settings.tips == str(load.project / "tips.md")
    assert load(toml='tips = "look at the index first"').tips == "look at the index first"


def test_models_by_depth_and_the_two_exclude_each_other_in_one_layer_and_hide_each_other_across(load) -> None:
    assert load({"models": ["a", "b"]}, own='model = "x"\nsub_model = "y"').model_names == ["a", "b"]
    assert load({"model": "x"}, own='models = ["a", "b"]').model_names == ["x"]
    with pytest.raises(ConfigError, match="either models"):
        load({"models": ["a"], "model": "x"})


def test_models_and_places_by_depth() -> None:
    settings = Settings(models=("a", "b", "c"), depth=4)
    assert [settings.model_at(depth) for depth in range(6)] == ["a", "b", "c", "c", "c", "c"]
    assert settings.child_places == (5, 5, 5)
    assert Settings(model="m", depth=3, child_concurrency=1).child_places == (1, 1)
    assert Settings(model="m").child_places == Settings(model="m", depth=0).child_places == ()
    assert Settings(model="m", sub_model="s", depth=2).model_names == ["m", "s"]
    assert Settings(model="m", sub_model="s", depth=0).model_names == ["m"]


def test_the_root_key_stays_with_its_endpoint() -> None:
    both = Settings(base_url="http://a", api_key="k")  # type: ignore[arg-type]
    apart = Settings(base_url="http://a", sub_base_url="http://b", api_key="k")  # type: ignore[arg-type]
    assert (both.sub_key, apart.sub_key) == ("k", "")
    assert apart.model_copy(update={"sub_api_key": both.api_key}).sub_key == "k"


@pytest.mark.parametrize(
    ("text", "size"), [("4g", 4 << 30), ("512 MiB", 512 << 20), ("1.5GB", 3 << 29), ("1073741824", 1 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_every_field_has_help() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", ["timeout", "cell_timeout", "request_timeout", "max_cost", "cpus"])
@pytest.mark.parametrize("value", ["inf", "nan", "0"])
def test_no_number_of_seconds_or_money_is_infinite(load, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load({name: value})


def test_a_configuration_that_is_no_file_is_not_read(load) -> None:
    os.mkfifo(load.project / "rlm.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_settings(project=load.project, user=load.project / "none", environ={})
