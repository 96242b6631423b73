"""The pages of docs/reference, and what in README.md is made of the code.

    python -m tests.compatibility.reference_pages --write

writes them anew: all parameters of gin files, of the rules and docstrings of
the configurations; all flags, of the tools themselves; and in README.md the
weights that others publish.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Iterable

from absl import flags

from official_coatnet import fields
from official_coatnet.pretrained import published
from official_coatnet.training import gin_config
from tests.compatibility import command_line, names

_COMMAND = 'python -m tests.compatibility.reference_pages --write'
_PUBLISHED = f'<!-- published: made by {_COMMAND} -->'
_MADE = f'<!-- Made by `{_COMMAND}`; not to be edited. -->\n'
# Most of its flags are Model Garden's, of which later versions have more.
_GARDEN = 'tools/model_garden_train.py'
# What absl calls the kinds of flags, in words of ours.
_KINDS = {
  'bool': 'True or False',
  'comma separated list of strings': 'texts, with commas between',
  'float': 'number',
  'int': 'integer',
  'string': 'text',
}
_GIN_HEAD = """# Every gin parameter

What a gin file, a `--gin_bindings` or Python may set:
`Class.parameter = value`. A value is held to the rule of its parameter before
anything starts, and a wrong one is an error that names parameter, value, rule
and likely fix. [training.md](../training.md#settings) says how settings are
read, and which macros set several at once.

"""
_FLAGS_HEAD = """# Every flag of every tool

`python tools/NAME.py --help` prints the same. A flag of True or False is
written `--flag` or `--noflag`. Every tool also has `--traceback`, which prints
where in the code an error came from, and ends with one of
[these exit codes](../training.md#how-a-tool-ends).

"""


def pages() -> dict[str, str]:
  """Returns the text of each page, by its path from the root."""
  return {
    'docs/reference/gin.md': gin_page(),
    'docs/reference/tools.md': tools_page(),
    'README.md': readme(),
  }


def readme() -> str:
  """Returns README.md with its table of published weights as it has to be."""
  with open(os.path.join(command_line.ROOT, 'README.md')) as f:
    text = f.read()
  rows = (
    (
      f'`{each.name}`',
      f'{each.parameters:.1f} M',
      f'{each.image_size}',
      'none' if each.top1 is None else f'{each.top1:.1f} %',
    )
    for each in published.PUBLISHED.values()
  )
  table = _table(('Name', 'Parameters', 'Image', 'Top-1'), rows)
  head, begin, rest = text.partition(_PUBLISHED)
  _, end, tail = rest.partition('<!-- /published -->')
  return f'{head}{begin}\n\n{table}\n{end}{tail}'


def gin_page() -> str:
  """Returns the page of all parameters of the configurations."""
  parts = [_GIN_HEAD]
  for cls in gin_config.CONFIGURABLES:
    doc = inspect.cleandoc(cls.__doc__).partition('Attributes:\n')[0].strip()
    rows = (
      (
        f'`{each.name}`',
        _cell(each.words),
        'to be given' if each.default is None else _code(each.default),
        _cell(each.meaning),
      )
      for each in fields.describe(cls)
    )
    table = _table(('Parameter', 'Must be', 'Default', 'Meaning'), rows)
    parts.append(f'## {cls.__name__}\n\n{_escaped(doc)}\n\n{table}\n')
  return ''.join([*parts, _MADE])


def tools_page() -> str:
  """Returns the page of all tools, with what they say of themselves."""
  with open(names.FILE) as f:
    known = json.load(f)['flags']
  parts = [_FLAGS_HEAD]
  for tool in names.tools():
    rows = (
      (f'`--{name}`', _values(flag), _default(flag), _meaning(flag))
      for name, flag in command_line.flags_of(tool).items()
      if name != 'traceback' and (tool != _GARDEN or name in known[_GARDEN])
    )
    table = _table(('Flag', 'Value', 'Default', 'Meaning'), rows)
    parts.append(f'## {tool}\n\n{_docstring(tool)}\n\n{table}\n')
  return ''.join([*parts, _MADE])


def _docstring(tool: str) -> str:
  """Returns what stands at the head of a tool; indented lines stay code."""
  path = os.path.join(command_line.ROOT, tool)
  with open(path, encoding='utf-8') as f:
    first = f.read().split('"""')[1]
  blocks = inspect.cleandoc(first).split('\n\n')
  return '\n\n'.join(
    block if block.startswith('    ') else _escaped(block) for block in blocks
  )


def _values(flag: flags.Flag) -> str:
  """Returns what a flag takes."""
  if values := getattr(flag.parser, 'enum_values', None):
    text = ', '.join(f'`{value}`' for value in values)
  else:
    kind = flag.flag_type().removeprefix('multi ')
    text = _KINDS.get(kind, kind)
  is_several = isinstance(flag, flags.MultiFlag)
  return f'{text}; may be repeated' if is_several else text


def _default(flag: flags.Flag) -> str:
  default = names.portable(flag.default)
  if isinstance(default, list):
    default = ','.join(map(str, default))
  return '' if default in (None, '') else _code(str(default))


def _meaning(flag: flags.Flag) -> str:
  """Returns what a flag says of itself; its values stand elsewhere."""
  text = flag.help or ''
  text = re.sub(r'^<[^>]*>: ', '', text)
  text = re.sub(
    r';\s+repeat this option to specify a list of values$', '', text
  )
  return _cell(text)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
  lines = [head, ('---',) * len(head), *rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _cell(text: str | None) -> str:
  """Returns a text as it stands in a cell of a table."""
  return _escaped(' '.join((text or '').split())).replace('|', r'\|')


def _code(text: str) -> str:
  return f'`{text}`'.replace('|', r'\|')


def _escaped(text: str) -> str:
  """Keeps what is no code from being read as Markdown or HTML."""
  parts = re.split(r'(`[^`]*`)', text)
  return ''.join(
    part
    if part.startswith('`')
    else re.sub(r'([*\[]|\b_|_\b)', r'\\\1', part).replace('<', '&lt;')
    for part in parts
  )


def main(argv: list[str]) -> None:
  """Writes the pages."""
  if argv[1:] != ['--write']:
    sys.exit(f'usage: {_COMMAND}')
  for name, text in pages().items():
    path = os.path.join(command_line.ROOT, name)
    with open(path, 'w', encoding='utf-8') as f:
      f.write(text)


if __name__ == '__main__':
  main(sys.argv)
