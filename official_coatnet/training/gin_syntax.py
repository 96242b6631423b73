"""What gin files and bindings say, read before gin acts on them.

gin says of a value that it cannot parse little more than that; it takes two
texts without a comma between them for one, and it leaves a macro alone that
nothing reads. So they are read here first, by gin's own parser, for all that
can be said of them without knowing what is configured.
"""

import ast
import dataclasses
import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gin import config_parser

from official_coatnet.training import gin_mistakes


class GinSyntaxError(ValueError):
  """A file or binding that gin would not parse, or not as it was meant."""


@dataclasses.dataclass(frozen=True)
class Statement:
  """One thing that is set.

  Attributes:
    name: Of a macro, such as 'BATCH_SIZE', or 'train/DataConfig.split'.
    value: As gin parses it; macros and references in it are texts.
    reads: The macros in the value.
  """

  name: str
  value: Any
  reads: frozenset[str]


@dataclasses.dataclass(frozen=True)
class _Text:
  """A file or a binding: what is in it, and how messages call a line of it."""

  text: str
  file: str | None = None

  def place(self, line: int) -> str:
    words = self.line(line).strip()
    if self.file is None:
      return f'Binding {words!r}'
    return f'{self.file}, line {line}, {words!r}'

  def line(self, number: int) -> str:
    lines = self.text.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ''


def read(
  paths: Sequence[str],
  bindings: Sequence[str],
  *,
  read_file: Callable[[str], tuple[str, str]],
) -> list[Statement]:
  """Reads files, with what they include, and bindings, in gin's order.

  Args:
    paths: Gin files.
    bindings: Such as "BATCH_SIZE = 128".
    read_file: Returns the path of a file and what is in it; a ValueError if
      there is none.

  Raises:
    GinSyntaxError: With the file and line, or binding, and what to write there.
  """

  def read_text(text: _Text, within: tuple[str, ...]) -> Iterator[Statement]:
    for line, statement in _parse(text):
      if isinstance(statement, Statement):
        yield statement
        continue
      try:
        path, content = read_file(statement)
      except ValueError as e:
        raise GinSyntaxError(f'{text.place(line)}: {e}') from e
      if path in within:
        chain = ' > '.join([*within[within.index(path) :], path])
        raise GinSyntaxError(
          f'{text.place(line)}: the file includes itself ({chain}); remove one '
          'of these includes.'
        )
      yield from read_text(_Text(content, path), (*within, path))

  statements: list[Statement] = []
  for name in paths:
    path, content = read_file(name)
    statements += read_text(_Text(content, path), (path,))
  for binding in bindings:
    statements += read_text(_Text(binding), ())
  return statements


class _Macro(str):
  """A macro in a value."""


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
    return f'@{scoped_configurable_name}()'

  def macro(self, macro_name: str) -> str:
    return _Macro(f'%{macro_name}')


def _macros(value: Any) -> frozenset[str]:
  """Returns the names of the macros in a value."""
  if isinstance(value, _Macro):
    return frozenset([value[1:]])
  if isinstance(value, dict):
    value = [*value, *value.values()]
  if isinstance(value, list | tuple):
    return frozenset().union(*map(_macros, value))
  return frozenset()


def _parse(text: _Text) -> Iterator[tuple[int, Statement | str]]:
  """Yields what a text sets, or includes, with the numbers of the lines."""
  parser = None
  try:
    parser = config_parser.ConfigParser(text.text, _Delegate())
    for statement in parser:
      if isinstance(statement, config_parser.IncludeStatement):
        yield statement.location.line_num, statement.filename
      elif isinstance(statement, config_parser.BindingStatement):
        value = statement.value
        yield (
          statement.location.line_num,
          Statement(_name(statement), value, _macros(value)),
        )
  except tokenize.TokenError as e:
    raise GinSyntaxError(_explain_end(text, e)) from e
  except (SyntaxError, TypeError) as e:
    row = getattr(e, 'lineno', None)
    if row is None and parser is not None:
      row = parser.current_token.start[0]
    raise GinSyntaxError(_explain(text, e, row=row or 1)) from e
  _check_texts(text)


def _name(statement: config_parser.BindingStatement) -> str:
  scope, selector, arg_name = statement[:3]
  if (selector, arg_name) == ('macro', 'value'):
    return str(scope)
  name = f'{selector}.{arg_name}' if arg_name else selector
  return f'{scope}/{name}' if scope else name


def _explain_end(text: _Text, error: tokenize.TokenError) -> str:
  """Says what is open where a text ends."""
  if bracket := _open_bracket(text.text):
    character, row = bracket
    return (
      f'{text.place(row)}: the bracket {character!r} is not closed; add '
      f'{gin_mistakes.CLOSING[character]!r} where its values end.'
    )
  row = error.args[1][0]
  return f'{text.place(row)}: a closing quote is missing.'


def _explain(text: _Text, error: Exception, *, row: int) -> str:
  """Says what is wrong with a line, and what to write."""
  line, reason = text.line(row), str(getattr(error, 'msg', None) or error)
  bracket = _open_bracket(text.text, before=row)
  if bracket and bracket[1] < row and gin_mistakes.sets(line):
    character, start = bracket
    return (
      f'{text.place(start)}: the bracket {character!r} is not closed before '
      f'line {row}, {line.strip()!r}; add {gin_mistakes.CLOSING[character]!r}.'
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


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
  """Yields tokens as far as there are any."""
  try:
    yield from tokenize.generate_tokens(io.StringIO(text).readline)
  except (tokenize.TokenError, SyntaxError):
    return


def _open_bracket(
  text: str, *, before: int | None = None
) -> tuple[str, int] | None:
  """Returns the outermost bracket that is open at a line, and its line."""
  stack: list[tuple[str, int]] = []
  for token in _tokens(text):
    if before is not None and token.start[0] >= before:
      break
    if token.type == tokenize.OP and token.string in gin_mistakes.CLOSING:
      stack.append((token.string, token.start[0]))
    elif token.string in gin_mistakes.CLOSING.values() and stack:
      stack.pop()
  return stack[0] if stack else None


def _check_texts(text: _Text) -> None:
  """Refuses two texts in a row, which Python and gin take for one.

  Not where one long text was broken: in parentheses of its own, or as gin
  prints it, after a blank and at the end of a line.
  """
  # Of each open bracket: itself, whether it has a comma, and texts in a row.
  stack: list[list[Any]] = [['', False, []]]
  last: tokenize.TokenInfo | None = None
  for token in _tokens(text.text):
    if token.type in (tokenize.NL, tokenize.COMMENT):
      continue
    if token.type == tokenize.STRING and last and last.type == tokenize.STRING:
      stack[-1][2].append((last, token))
    elif token.string == ',':
      stack[-1][1] = True
    elif token.type == tokenize.OP and token.string in gin_mistakes.CLOSING:
      stack.append([token.string, False, []])
    elif token.string in gin_mistakes.CLOSING.values() and len(stack) > 1:
      _check_pairs(text, *stack.pop())
    last = token
  _check_pairs(text, *stack[0])


def _check_pairs(
  text: _Text,
  bracket: str,
  has_comma: bool,
  pairs: list[tuple[tokenize.TokenInfo, tokenize.TokenInfo]],
) -> None:
  for left, right in pairs:
    if left.end[0] != right.start[0]:
      broken = str(ast.literal_eval(left.string))[-1:].isspace()
      if broken or (bracket == '(' and not has_comma):
        continue
    raise GinSyntaxError(
      f'{text.place(left.start[0])}: between {left.string} and {right.string} '
      'there is no comma, so that they would be one text; write '
      f'{left.string}, {right.string}, or the one text.'
    )
