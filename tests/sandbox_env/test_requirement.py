import pytest

from rlm.errors import ConfigError
from rlm.kernels.requirement import parse, refused


@pytest.mark.parametrize(
    ("text", "name", "normal"),
    [
        ("regex", "regex", "regex"),
        (" Foo_Bar.baz ", "foo-bar-baz", "Foo_Bar.baz"),
        ("polars >= 1.0, < 2", "polars", "polars>=1.0,<2"),
        ("tabulate[widechars]==0.9.*", "tabulate", "tabulate[widechars]==0.9.*"),
        ("x~=1.4.2+local", "x", "x~=1.4.2+local"),
    ],
)
def test_accepts_names_extras_and_versions(text, name, normal):
    requirement = parse(text)
    assert (requirement.name, requirement.text) == (name, normal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-r requirements.txt",
        "--index-url=http://evil.example",
        "-e.",
        ".",
        "./package",
        "/etc/passwd",
        "package/..",
        "https://evil.example/x.whl",
        "git+https://evil.example/x",
        "x @ https://evil.example/x.whl",
        "x@file:///etc/passwd",
        "x --index-url=http://evil.example",
        "x\n--index-url=http://evil.example",
        "x; python_version < '4'",
        "evil-1.0-py3-none-any.whl",
        "évil",
        "x" * 201,
        "x==",
        "x[",
        "x-",
    ],
)
def test_refuses_everything_else(text):
    with pytest.raises(ConfigError):
        parse(text)


def test_allow_list_compares_as_the_index_does():
    wanted = [parse("Foo_Bar"), parse("regex>=1"), parse("other[foo-bar]")]
    assert refused(wanted, allow={"foo-bar", " Regex "}) == ["other"]
    assert refused(wanted, allow=()) == ["foo-bar", "regex", "other"]
