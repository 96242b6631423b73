"""The tokens of a gin text: what gin's parser does not tell of it."""

import ast
import io
import tokenize
from collections.abc import Iterator
from typing import Any

# Brackets, and what closes them.
CLOSING = {'(': ')', '[': ']', '{': '}'}


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
  """Yields tokens as far as there are any."""
  try:
    yield from tokenize.generate_tokens(io.StringIO(text).readline)
  except (tokenize.TokenError, SyntaxError):
    return


def open_bracket(
  text: str, *, before: int | None = None
) -> tuple[str, int] | None:
  """Returns the outermost bracket that is open at a line, and its line."""
  stack: list[tuple[str, int]] = []
  for token in _tokens(text):
    if before is not None and token.start[0] >= before:
      break
    if token.type == tokenize.OP and token.string in CLOSING:
      stack.append((token.string, token.start[0]))
    elif token.string in CLOSING.values() and stack:
      stack.pop()
  return stack[0] if stack else None


def missing_comma(text: str) -> tuple[int, str, str] | None:
  """Returns two texts in a row, which Python and gin take for one.

  Not where one long text was broken: in parentheses of its own, or as gin
  prints it, after a blank and at the end of a line.

  Returns:
    The number of the line, and both texts, or None.
  """
  # Of each open bracket: itself, whether it has a comma, and texts in a row.
  stack: list[list[Any]] = [['', False, []]]
  last: tokenize.TokenInfo | None = None
  for token in _tokens(text):
    if token.type in (tokenize.NL, tokenize.COMMENT):
      continue
    if token.type == tokenize.STRING and last and last.type == tokenize.STRING:
      stack[-1][2].append((last, token))
    elif token.string == ',':
      stack[-1][1] = True
    elif token.type == tokenize.OP and token.string in CLOSING:
      stack.append([token.string, False, []])
    elif (
      token.string in CLOSING.values()
      and len(stack) > 1
      and (found := _unbroken(*stack.pop()))
    ):
      return found
    last = token
  return _unbroken(*stack[0])


def _unbroken(
  bracket: str,
  has_comma: bool,
  pairs: list[tuple[tokenize.TokenInfo, tokenize.TokenInfo]],
) -> tuple[int, str, str] | None:
  """Returns the first two texts that are not one on several lines."""
  for left, right in pairs:
    if left.end[0] != right.start[0]:
      broken = str(ast.literal_eval(left.string))[-1:].isspace()
      if broken or (bracket == '(' and not has_comma):
        continue
    return left.start[0], left.string, right.string
  return None
