"""The usual mistakes in a line of gin, and what to write in its place."""

import ast
import re

from official_coatnet.training import gin_tokens

# The beginning of a line that sets something, and what is set to what.
_SETS = re.compile(r'\s*([A-Za-z_][\w/.]*)\s*=(?!=)\s*(.*)', re.DOTALL)
# Another one on the same line, where texts are left out.
_SETS_MORE = re.compile(r'[\s,;&)]\s*[A-Za-z_][\w/.]*\s*=(?!=)')
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_CURLY_QUOTES = '“”„‘’‚´`'
_CONSTANTS = {
  **dict.fromkeys(('true', 'yes', 'on'), 'True'),
  **dict.fromkeys(('false', 'no', 'off'), 'False'),
  **dict.fromkeys(('none', 'null', 'nil'), 'None'),
}


def sets(line: str) -> bool:
  """Whether a line begins by setting something."""
  return _SETS.match(line) is not None


def explain(line: str, reason: str, *, in_file: bool) -> str:
  """Says what is wrong with a line: the first of the usual mistakes.

  Args:
    line: Without blanks around it.
    reason: What gin's parser says.
    in_file: Whether it stands in a file, and not on a command line.
  """
  if set(line) & set(_CURLY_QUOTES):
    return "it has curly quotes; type plain ones, such as 'text'."
  if line.startswith('--'):
    return 'that is a flag, and no binding: give it without --gin_bindings=.'
  found = _SETS.match(line)
  if not found:
    return _why_no_assignment(line)
  name, value = found.group(1), found.group(2).split(' #')[0].strip()
  if not value:
    return (
      f"there is no value after `=`; write {name} = 64, or {name} = 'text'."
    )
  rest = _TEXT.sub('0', value)
  if set(rest) & {"'", '"'}:
    return "a quote is missing; a text begins and ends with one: 'text'."
  if _SETS_MORE.search(rest):
    return (
      'more than one thing is set; give each '
      + ('a line' if in_file else 'a --gin_bindings')
      + ' of its own.'
    )
  if constant := _CONSTANTS.get(value.lower()):
    written = _written(name, constant, in_file=in_file)
    return f'{value} is called {constant} here; write {written}.'
  if words := _why_no_number(value):
    return words
  if _is_value(value):
    return 'the line cannot stand here; look at the blanks that it begins with.'
  if rest == value and not set(value) & set('()[]{}'):
    written = _written(name, repr(value), in_file=in_file)
    macro = f' A macro is read by %{value}.' if value.isupper() else ''
    return f'{value} is a text, and needs quotes: write {written}.{macro}'
  return _why_in_brackets(rest, reason)


def _why_no_assignment(line: str) -> str:
  example = 'a binding is a name and a value, such as BATCH_SIZE = 64.'
  if line[:1] in ('"', "'"):
    return (
      'it begins with a quote; in a shell, quotes go around the whole of it, '
      '"BATCH_SIZE = 64", and in gin around a text alone.'
    )
  if line.startswith(('//', '/*', ';', '%', '--')):
    return 'a comment begins with #.'
  if '==' in line:
    return f'write one `=`; {example}'
  if '=' in line:
    return f'what stands before `=` is no name; {example}'
  if line.startswith(('include', 'import', 'from')):
    return "to take in another file, write include 'gin/demo.gin'."
  words = re.fullmatch(r'([A-Za-z_][\w/.]*)(?:\s*:\s*|\s+)(\S.*)', line)
  if words:
    name, value = words.groups()
    value = value if _is_value(value) else repr(value)
    return f'there is no `=`; write {name} = {value}.'
  if line.endswith('.gin'):
    return f'{example} A gin file is given by --gin_file.'
  return f'there is no `=`; {example}'


def _is_value(text: str) -> bool:
  try:
    ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return False
  return True


def _why_no_number(value: str) -> str | None:
  """Says what is wrong with a value that begins as a number does."""
  if re.fullmatch(r'[-+]?\d{1,3}([,_ ]\d{3})+', value):
    return f'write the number without separators: {re.sub("[,_ ]", "", value)}.'
  if number := re.fullmatch(r'\+([\d.]+(e-?\d+)?)', value, re.IGNORECASE):
    return f'write the number without its plus: {number.group(1)}.'
  if re.fullmatch(r'[\d.eE ]+([*/+-]+[\d.eE ]*)+', value):
    return (
      f'{value} is neither a number, since gin does not calculate, nor a text, '
      f"which would be in quotes: '{value}'."
    )
  if re.fullmatch(r'[-\d.]+\s*(%|[a-zA-Z]+)', value):
    return f'{value} is no number; write digits alone.'
  return None


def _why_in_brackets(rest: str, reason: str) -> str:
  """Of a value with brackets, or with something after a text."""
  if token := re.search(r"Failed to parse token '(.*)'", reason):
    word = token.group(1)
    right = _CONSTANTS.get(word.lower(), repr(word))
    return f'{word} cannot be read; write {right}.'
  for opening, closing in gin_tokens.CLOSING.items():
    if rest.count(closing) > rest.count(opening):
      return f'there is a {closing!r} too many.'
  if 'Expected' in reason and set(rest) & set(gin_tokens.CLOSING):
    return 'a comma is missing between two values.'
  return (
    "it cannot be read; a text needs quotes, 'text', and several values "
    'brackets and commas, (1, 2).'
  )


def _written(name: str, value: str, *, in_file: bool) -> str:
  """Returns a binding as it is to be written, in a shell if it is no file's."""
  binding = f'{name} = {value}'
  if in_file:
    return binding
  return f'--gin_bindings="{binding}"'
