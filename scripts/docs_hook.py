"""Pages of the documentation site that are written elsewhere: mkdocs calls the functions below while it builds.

The start page is the README; the pages on the command line and on licences and the table of methods are made from the
program itself.
"""

import logging
import re
from argparse import SUPPRESS, Action
from importlib import metadata
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from packaging.requirements import Requirement

from smat.cli.commands import COMMANDS
from smat.cli.parser import build_parser
from smat.metatuning.methods import METHODS
from smat.options import dashed

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//")

logger = logging.getLogger("mkdocs.hooks.smat")  # a warning ends a strict build


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=site_links((ROOT / source).read_text(encoding="utf-8"))))
    files.append(File.generated(config, "command-line.md", content=command_line()))
    files.append(File.generated(config, "licences.md", content=licences()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the table of methods."""
    return markdown.replace("<!-- the table of methods -->", methods_table())


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page that loads anything from another site."""
    for found in ELSEWHERE.findall(output):
        logger.warning("%s loads from another site: %s", page.file.src_uri, found)
    return output


def site_links(markdown: str) -> str:
    """Links as they are within docs/, of a file that lies beside it."""
    for source, page in PAGES.items():
        markdown = markdown.replace(f"]({source}", f"]({page}")
    return markdown.replace("](docs/", "](")


def methods_table() -> str:
    """All methods, one per row."""
    rows = [
        f"| `{name}` | {method.summary} | {method.paper} | {'yes' if method.trained else 'no'} |"
        for name, method in METHODS.items()
    ]
    return "\n".join(["| method | what it is | proposed by | trained |", "|---|---|---|---|", *rows])


def licences() -> str:
    """The licences of what smat is installed with, as the installed packages say."""
    rows = ["| package | for | version | licence |", "| --- | --- | --- | --- |"]
    for requirement in map(Requirement, metadata.requires("smat-fewshot") or ()):
        if requirement.name == "smat-fewshot":
            continue
        extra = re.search(r"extra == .(\w+).", str(requirement.marker))
        part = f"extra `{extra[1]}`" if extra else "always"
        try:
            about: dict[str, Any] = metadata.metadata(requirement.name).json
        except metadata.PackageNotFoundError:
            rows.append(f"| {requirement.name} | {part} | not installed here | |")
            continue
        classified = [line.rpartition(" :: ")[2] for line in about.get("classifier", []) if "License ::" in line]
        texts = (about.get("license_expression"), *classified, about.get("license", "").partition("\n")[0])
        licence = next((text for text in texts if text and "OSI Approved" not in text), "not said")
        rows.append(f"| {requirement.name} | {part} | {about['version']} | {licence} |")
    text = (
        "smat is under the Apache License 2.0. These are the packages that it asks for; each brings others, whose "
        "licences `pip-licenses` and tools like it list."
    )
    return "\n".join(["# Licences", "", text, "", *rows, ""])


def command_line() -> str:
    """The page on the command line: every command with its arguments and options."""
    every = [
        "# Command line",
        "Options are written with dashes, and settings in YAML files with underscores: `--learning-rate-from` is "
        "`learning_rate_from`. Every command takes `--config FILE.yaml`; options given after it override the file's. "
        "`smat COMMAND --help-all` shows what is below, `--help` the most used of it, and `--print-config` the "
        "settings as YAML.",
    ]
    return "\n\n".join([*every, *(command_section(name) for name in COMMANDS)]) + "\n"


def command_section(name: str) -> str:
    """What a command does, an example, and its arguments and options by group."""
    command, words = COMMANDS[name], name.split()
    parser = build_parser(name, words[0] if len(words) > 1 else None)
    subcommands: Any = next(action for action in parser._actions if action.dest == "command")
    example = "\n".join(line.strip() for line in command.example.splitlines())
    parts = [f"## smat {name}", f"{command.summary[0].upper()}{command.summary[1:]}.", f"```\n{example}\n```"]
    for group in subcommands._name_parser_map[words[-1]]._action_groups:
        rows = [row(action) for action in group._group_actions if is_setting(action)]
        if rows:
            title = (group.title or "").strip().rstrip(".")
            parts.append(f"**{title[0].upper()}{title[1:]}**")
            parts.append("\n".join(["| option | default | explanation |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def is_setting(action: Action) -> bool:
    """Whether an action is an option of its own, rather than help, a file of settings or the name of a group."""
    shows = action.default == SUPPRESS and (action.nargs == 0 or action.dest.endswith(".help"))
    return not shows and type(action).__name__ not in ("ActionConfigFile", "_ActionConfigLoad", "_ActionPrintConfig")


def row(action: Action) -> str:
    """An option as a row: its name and values, its default, its explanation."""
    long = [name for name in action.option_strings if name.startswith("--") and not name.endswith("+")]
    name = dashed(long[0]) if long else action.dest.upper()
    if not action.help:
        logger.warning("command line: %s has no explanation", name)
    if action.choices:
        values = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    elif long and isinstance(action.metavar, str):
        values = action.metavar
    else:
        values = ""
    default = action.default
    if isinstance(default, bool):
        default = str(default).lower()
    if default in (None, [], SUPPRESS) or action.nargs == 0:
        shown = "required" if action.required else ""
    else:
        shown = f"`{default}`"
    named = f"`{name}` `{values}`" if values else f"`{name}`"
    return f"| {cell(named)} | {cell(shown)} | {cell(action.help or '')} |"


def cell(text: str) -> str:
    """A help text within a table: on one line, with nothing in it that Markdown would read, but for `code`."""
    parts = " ".join(text.split()).split("`")
    plain = [re.sub(r"([*\[\]<>|])", r"\\\1", part) for part in parts[::2]]
    code = [part.replace("|", r"\|") for part in parts[1::2]]
    return "".join(p + (f"`{c}`" if c is not None else "") for p, c in zip(plain, [*code, None], strict=True))
