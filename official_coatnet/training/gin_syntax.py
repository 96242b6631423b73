"""What gin files and bindings say, read before gin acts on them.

gin says of a value that it cannot parse little more than that; it takes two
texts without a comma between them for one, and it leaves a macro alone that
nothing reads. So they are read here first, by gin's own parser, for all that
can be said of them without knowing what is configured. gin gets what was read,
and opens no file itself: an import that is refused here is nowhere else.
"""

import dataclasses
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from gin import config_parser

from official_coatnet.training import gin_mistakes, gin_tokens

# Files within files, and parts of files in all: foreign files may include each
# other a million times.
_DEEPEST = 20
_MOST_CHUNKS = 2000
# Letters of a line that a message shows.
_LONGEST_LINE = 200
# In which `gin_config` registers what can be configured.
_MODULE = 'coatnet'


class GinSyntaxError(ValueError):
  """A file or binding that gin would not parse, or not as it was meant."""


@dataclasses.dataclass(frozen=True)
class Statement:
  """One thing that is set.

  Attributes:
    name: Of a macro, such as 'BATCH_SIZE', or 'train/DataConfig.split', without
      the module 'coatnet' that may stand before a class.
    value: As gin parses it; macros and references in it are texts.
    reads: The macros in the value.
    makes: The references in the value, such as 'train/DataConfig'.
    place: Where it stands, for messages.
  """

  name: str
  value: Any
  reads: frozenset[str]
  makes: frozenset[str] = frozenset()
  place: str = ''

  @property
  def is_macro(self) -> bool:
    return '.' not in self.name

  @property
  def is_macro_alone(self) -> bool:
    """Whether the value is a macro, and nothing beside it."""
    return isinstance(self.value, _Macro)

  @property
  def scope(self) -> str:
    """In which something is set, '' for everywhere; of a macro ''."""
    return '' if self.is_macro else self.name.rpartition('/')[0]

  @property
  def configurable(self) -> str:
    """What is set, such as 'DataConfig'; '' for a macro."""
    return self.name.rpartition('/')[2].rpartition('.')[0]

  @property
  def parameter(self) -> str:
    """What of it is set, such as 'split'."""
    return self.name.rpartition('.')[2]


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A part of a file, between two includes, or a binding.

  Attributes:
    text: What is in it, after as many empty lines as there are before it.
    file: The file, or None for a binding.
  """

  text: str
  file: str | None = None


@dataclasses.dataclass(frozen=True)
class _Text:
  """A file or a binding: what is in it, and how messages call a line of it."""

  text: str
  file: str | None = None

  def place(self, line: int) -> str:
    words = self.line(line).strip()
    if len(words) > _LONGEST_LINE:
      words = f'{words[:_LONGEST_LINE]}...'
    if self.file is None:
      return f'Binding {words!r}'
    return f'{self.file}, line {line}, {words!r}'

  def chunk(self, begin: int, end: int | None) -> Chunk:
    """Returns the lines from `begin` on, and before `end`."""
    stop = None if end is None else end - 1
    # Not splitlines, which knows more ends of lines than gin's parser.
    lines = self.text.split('\n')[begin - 1 : stop]
    return Chunk('\n' * (begin - 1) + '\n'.join(lines), self.file)

  def line(self, number: int) -> str:
    lines = self.text.split('\n')
    return lines[number - 1] if 0 < number <= len(lines) else ''


def read(
  paths: Sequence[str],
  bindings: Sequence[str],
  *,
  read_file: Callable[[str], tuple[str, str]],
  allow_imports: Sequence[str] = (),
) -> tuple[list[Statement], list[Chunk]]:
  """Reads files, with what they include, and bindings, in gin's order.

  Args:
    paths: Gin files.
    bindings: Such as "BATCH_SIZE = 128".
    read_file: Returns the path of a file and what is in it; a ValueError if
      there is none.
    allow_imports: Python packages that may be imported.

  Returns:
    What is set, and the texts for gin to parse, which include nothing.

  Raises:
    GinSyntaxError: With the file and line, or binding, and what to write there.
  """
  statements: list[Statement] = []
  chunks: list[Chunk] = []

  def read_text(text: _Text, within: tuple[str, ...]) -> None:
    begin = 1
    for line, end, statement in _parse(text):
      if isinstance(statement, config_parser.ImportStatement):
        _check_import(statement, allow_imports, place=text.place(line))
      elif isinstance(statement, Statement):
        statements.append(statement)
      else:
        chunks.append(text.chunk(begin, line))
        begin = end
        read_include(statement, within, place=text.place(line))
    chunks.append(text.chunk(begin, None))

  def read_include(name: str, within: tuple[str, ...], *, place: str) -> None:
    try:
      path, content = read_file(name)
    except ValueError as e:
      raise GinSyntaxError(f'{place}: {e}') from e
    if path in within:
      chain = ' > '.join([*within[within.index(path) :], path])
      raise GinSyntaxError(
        f'{place}: the file includes itself ({chain}); remove one of these '
        'includes.'
      )
    if len(within) >= _DEEPEST or len(chunks) >= _MOST_CHUNKS:
      raise GinSyntaxError(
        f'{place}: files include files, {_DEEPEST} deep or {_MOST_CHUNKS} in '
        'all; include fewer.'
      )
    read_text(_Text(content, path), (*within, path))

  for name in paths:
    path, content = read_file(name)
    read_text(_Text(content, path), (path,))
  for binding in bindings:
    read_text(_Text(binding), ())
  return statements, chunks


def is_allowed(module: str, allowed: Sequence[str]) -> bool:
  """Whether a Python module is one of some packages, or in one."""
  return any(f'{module}.'.startswith(f'{each}.') for each in allowed)


def _check_import(
  statement: config_parser.ImportStatement,
  allowed: Sequence[str],
  *,
  place: str,
) -> None:
  """Refuses to run Python code that nobody has allowed by name."""
  module = statement.module
  if module.split('.')[0] == '__gin__':
    raise GinSyntaxError(
      f'{place}: a gin file registers nothing here; register it in the Python '
      'package that has it, by @gin.configurable, and import that.'
    )
  if not is_allowed(module, allowed):
    package = module.split('.')[0]
    raise GinSyntaxError(
      f'{place}: a gin file imports nothing by itself, since an import runs '
      f'code. Remove the line, or, if you trust {package}, add '
      f'--allow_imports={package}.'
    )


class _Macro(str):
  """A macro in a value."""


class _Reference(str):
  """A reference in a value."""


class _Delegate(config_parser.ParserDelegate):
  """Of gin's parser: knows of no configurables."""

  def configurable_reference(
    self, scoped_configurable_name: str, evaluate: bool
  ) -> str:
    if not evaluate:
      # gin would hand on the class itself; nothing here takes one.
      raise SyntaxError(
        f'@{scoped_configurable_name} needs parentheses: write '
        f'@{scoped_configurable_name}().'
      )
    return _Reference(f'@{scoped_configurable_name}()')

  def macro(self, macro_name: str) -> str:
    return _Macro(f'%{macro_name}')


def _find(value: Any, kind: type[str]) -> frozenset[str]:
  """Returns the macros, or the references, in a value."""
  if isinstance(value, kind):
    return frozenset([value])
  if isinstance(value, dict):
    value = [*value, *value.values()]
  if isinstance(value, list | tuple):
    return frozenset().union(*(_find(each, kind) for each in value))
  return frozenset()


_Parsed: TypeAlias = Statement | config_parser.ImportStatement | str


def _parse(text: _Text) -> Iterator[tuple[int, int, _Parsed]]:
  """Yields what a text sets, includes (a path) or imports.

  With each the number of its line, and of the one after it.
  """
  parser = None
  try:
    parser = config_parser.ConfigParser(text.text, _Delegate())
    for statement in parser:
      line = statement.location.line_num
      end = max(line + 1, parser.current_token.start[0])
      if isinstance(statement, config_parser.IncludeStatement):
        yield line, end, statement.filename
      elif isinstance(statement, config_parser.ImportStatement):
        yield line, end, statement
      elif isinstance(statement, config_parser.BindingStatement):
        yield line, end, _statement(statement, text.place(line))
  except tokenize.TokenError as e:
    raise GinSyntaxError(_explain_end(text, e)) from e
  except (RecursionError, MemoryError) as e:
    row = parser.current_token.start[0] if parser is not None else 1
    raise GinSyntaxError(
      f'{text.place(row)}: its brackets are nested too deeply; '
      'write a flat tuple.'
    ) from e
  except (SyntaxError, TypeError) as e:
    row = getattr(e, 'lineno', None)
    if row is None and parser is not None:
      row = parser.current_token.start[0]
    raise GinSyntaxError(_explain(text, e, row=row or 1)) from e
  if missing := gin_tokens.missing_comma(text.text):
    row, left, right = missing
    raise GinSyntaxError(
      f'{text.place(row)}: between {left} and {right} there is no comma, so '
      f'that they would be one text; write {left}, {right}, or the one text.'
    )


def _statement(
  statement: config_parser.BindingStatement, place: str
) -> Statement:
  value = statement.value
  return Statement(
    _name(statement),
    value,
    reads=frozenset(each[1:] for each in _find(value, _Macro)),
    makes=frozenset(
      each[1:-2].replace(f'{_MODULE}.', '') for each in _find(value, _Reference)
    ),
    place=place,
  )


def _name(statement: config_parser.BindingStatement) -> str:
  scope, selector, arg_name = statement[:3]
  if selector in ('macro', 'gin.macro') and arg_name == 'value':
    if not scope:
      raise SyntaxError('A macro is set by its name: NAME = 3.')
    return str(scope)
  selector = selector.removeprefix(f'{_MODULE}.')
  name = f'{selector}.{arg_name}' if arg_name else selector
  return f'{scope}/{name}' if scope else name


def _explain_end(text: _Text, error: tokenize.TokenError) -> str:
  """Says what is open where a text ends."""
  if bracket := gin_tokens.open_bracket(text.text):
    character, row = bracket
    return (
      f'{text.place(row)}: the bracket {character!r} is not closed; add '
      f'{gin_tokens.CLOSING[character]!r} where its values end.'
    )
  reason, (row, _) = error.args
  if reason.startswith('unterminated string literal'):  # Python 3.12.
    return _explain(text, error, row=row)
  return f'{text.place(row)}: a closing quote is missing.'


def _explain(text: _Text, error: Exception, *, row: int) -> str:
  """Says what is wrong with a line, and what to write."""
  line, reason = text.line(row), str(getattr(error, 'msg', None) or error)
  bracket = gin_tokens.open_bracket(text.text, before=row)
  if bracket and bracket[1] < row and gin_mistakes.sets(line):
    character, start = bracket
    return (
      f'{text.place(start)}: the bracket {character!r} is not closed before '
      f'line {row}, {line.strip()!r}; add {gin_tokens.CLOSING[character]!r}.'
    )
  if 'needs parentheses' in reason:
    return f'{text.place(row)}: {reason}'
  if isinstance(error, IndentationError) or 'indentation' in reason:
    why = 'the line begins with more or fewer blanks than those around it.'
  elif row > 1 and text.line(row - 1).rstrip().endswith('\\'):
    why = 'the line before ends with a backslash, which joins the two.'
  else:
    why = gin_mistakes.explain(
      line.strip(), reason, in_file=text.file is not None
    )
  return f'{text.place(row)}: {why}'
