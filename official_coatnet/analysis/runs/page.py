"""The page of a report: one HTML file, which takes nothing from a network."""

import base64
import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet.analysis.runs import style

# A page of more could not be sent about.
MAX_BYTES = 5_000_000
_CSS = """
:root { color-scheme: light dark; --page: #fff; --words: #1d2126;
  --faint: #5d666f; --line: #d9dde1; --mark: #fff4d6; --marked: #6b4e00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --words: #e4e7ea;
  --faint: #9aa4ad; --line: #343a40; --mark: #3a3010; --marked: #f0d78a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 20px 16px 48px;
  background: var(--page); color: var(--words);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; padding-top: 14px;
  border-top: 1px solid var(--line); }
h3 { font-size: 14px; margin: 0 0 2px; font-weight: 600; }
p { margin: 6px 0; max-width: 75ch; } .faint { color: var(--faint); }
.note { background: var(--mark); color: var(--marked); padding: 8px 12px;
  border-radius: 6px; max-width: none; overflow-wrap: anywhere; }
.panels { display: grid; gap: 22px 26px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.panel { min-width: 0; break-inside: avoid; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; margin: 6px 0; }
th, td { text-align: left; vertical-align: top; padding: 4px 18px 4px 0;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th { font-weight: 600; } td { overflow-wrap: anywhere; min-width: 7em; }
th:first-child { color: var(--faint); font-weight: 400; min-width: 9em; }
thead th, thead th:first-child { font-weight: 600; color: var(--words); }
img { max-width: 100%; height: auto; border-radius: 6px; background: #fff; }
code { font-size: 13px; } summary { cursor: pointer; padding: 4px 0; }
.swatch { display: inline-block; width: 10px; height: 10px;
  border-radius: 50%; margin-right: 6px; }
/* Figures keep the width that they have on a screen: all shrinks together. */
@page { margin: 12mm; }
@media print { body { zoom: 0.56; width: 1280px; font-size: 19px; }
  :root { --page: #fff; --words: #000; --faint: #444; --line: #ccc; }
  h2 { break-after: avoid; } h3, table { font-size: 17px; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure of Bokeh's, with its title and perhaps a line below that."""

  title: str
  figure: Any
  words: str = ''


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the page.

  Attributes:
    title: Its heading.
    words: Below it, as text.
    html: What comes then, as HTML.
    figures: Drawn side by side.
    after: What comes after them, as HTML.
  """

  title: str
  words: str = ''
  html: str = ''
  figures: Sequence[Figure] = ()
  after: str = ''


def table(
  rows: Mapping[str, Sequence[Any]], *, head: Sequence[str] = ()
) -> str:
  """Returns rows, each with its name, as a table of HTML.

  Args:
    rows: Name to cells.
    head: Above the cells, the first above the names; already HTML.
  """
  text = ''
  if head:
    cells = ''.join(f'<th>{cell}</th>' for cell in head)
    text = f'<thead><tr>{cells}</tr></thead>'
  for name, values in rows.items():
    cells = ''.join(f'<td>{html.escape(str(value))}</td>' for value in values)
    text += f'<tr><th>{html.escape(name)}</th>{cells}</tr>'
  return f'<div class="scroll"><table>{text}</table></div>'


def names(runs: Sequence[str]) -> list[str]:
  """Returns the names of runs as HTML, each with its colour."""
  return [
    f'<span class="swatch" style="background:{colour}"></span>'
    f'{html.escape(name)}'
    for name, colour in zip(runs, style.colours(len(runs)))
  ]


def picture(contents: bytes, *, kind: str, words: str) -> str:
  """Returns a picture as HTML that holds it.

  Args:
    contents: Of its file.
    kind: Such as 'image/png'.
    words: What it shows.
  """
  encoded = base64.b64encode(contents).decode()
  source = f'data:{kind};base64,{encoded}'
  return f'<p><img alt="{html.escape(words)}" src="{source}"></p>'


def details(summary: str, contents: str) -> str:
  """Returns HTML that opens when its summary is clicked."""
  return (
    f'<details><summary>{html.escape(summary)}</summary>{contents}</details>'
  )


def notes(sentences: Sequence[str]) -> str:
  """Returns sentences that nobody should overlook, as HTML."""
  return ''.join(f'<p class="note">{html.escape(s)}</p>' for s in sentences)


def render(title: str, head: str, sections: Sequence[Section]) -> str:
  """Returns the page.

  Args:
    title: Of it.
    head: What comes first, as HTML.
    sections: Then these.

  Raises:
    ImportError: If Bokeh is not installed; says how to install it.
  """
  figures = [f.figure for section in sections for f in section.figures]
  script, divs, library = '', [], ''
  if figures:
    script, divs = style.bokeh('embed').components(figures, wrap_script=False)
    resources = style.bokeh('resources').Resources(
      mode='inline', components=['bokeh']
    )
    library = resources.render_js()
  places = iter(divs)
  body = ''.join(_section(section, places) for section in sections)
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n'
    f'<style>{_CSS}</style>\n{library}\n</head>\n<body>\n'
    f'<h1>{html.escape(title)}</h1>\n{head}\n{body}\n'
    f'<script>{_in_script(script)}</script>\n</body>\n</html>\n'
  )


def _section(section: Section, places) -> str:
  words = f'<p>{html.escape(section.words)}</p>' if section.words else ''
  panels = ''.join(
    f'<div class="panel"><h3>{html.escape(figure.title)}</h3>'
    f'<div class="faint">{html.escape(figure.words)}</div>{next(places)}</div>'
    for figure in section.figures
  )
  if panels:
    panels = f'<div class="panels">{panels}</div>'
  return (
    f'<h2>{html.escape(section.title)}</h2>{words}{section.html}{panels}'
    f'{section.after}\n'
  )


def _in_script(script: str) -> str:
  # A name of a run or a class must not end the element.
  return script.replace('</', '<\\/')
