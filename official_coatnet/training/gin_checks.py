"""What gin accepts of files and bindings, and should not.

A macro that nobody reads, a scope in which nothing is made, and values that
lead back to themselves: gin leaves the first two alone, so that a misspelt name
has no effect and nobody says so, and follows the last until Python's stack is
full. Here they are refused, with the name and the nearest match.
"""

import re
from collections.abc import Iterator, Sequence

from official_coatnet import fields
from official_coatnet.training import gin_start, gin_syntax

# How like one that is known a scope has to be to be a misspelling of it.
_ALIKE = 0.7


def check(
  statements: Sequence[gin_syntax.Statement], *, known: Sequence[str]
) -> None:
  """Refuses what has no effect, and what has no end.

  Args:
    statements: Of files and bindings, in gin's order.
    known: What can be configured, such as 'DataConfig'. Of other names gin
      itself says that there are none.

  Raises:
    GinSyntaxError: With the name, and the nearest that is known.
  """
  _check_macros(statements)
  last = _last(statements)
  _check_no_circle(
    {name: _leads_to(name, last) for name in _nodes(last)}, last=last
  )
  for each in statements:
    if each.scope and each.configurable in known:
      _check_scope(each, statements)
  for each in last.values():
    for reference in each.makes:
      _check_reference(reference, each, statements)


def macros(statements: Sequence[gin_syntax.Statement]) -> list[str]:
  """Returns the macros that are set."""
  return sorted({each.name for each in statements if each.is_macro})


def macro_of(
  field: str, statements: Sequence[gin_syntax.Statement]
) -> str | None:
  """Returns the macro that sets a field such as 'DataConfig.batch_size'."""
  last = _last(statements)
  for each in reversed(last.values()):
    if each.name.rpartition('/')[2] != field or not each.is_macro_alone:
      continue
    (name,) = each.reads
    while name in last and last[name].is_macro_alone:
      (name,) = last[name].reads
    return name
  return None


def _last(
  statements: Sequence[gin_syntax.Statement],
) -> dict[str, gin_syntax.Statement]:
  """Returns what holds in the end, by name."""
  return {each.name: each for each in statements}


def _hint(word: str, known: Sequence[str]) -> str:
  near = fields.nearest(word, known)
  return f' Did you mean {near!r}?' if near else ''


def _check_macros(statements: Sequence[gin_syntax.Statement]) -> None:
  """Refuses macros that nothing reads.

  A macro whose reader was set to something else later is left alone.
  """
  last = {each.name: i for i, each in enumerate(statements)}
  now_read = {name for i in last.values() for name in statements[i].reads}
  readers: dict[str, list[str]] = {}
  for each in statements:
    for name in each.reads:
      readers.setdefault(name, []).append(each.name)
  known = sorted(name for name in readers if '.' not in name)
  for name in macros(statements):
    if name in now_read:
      continue
    if name not in readers:
      raise gin_syntax.GinSyntaxError(
        f'The macro {name!r} is set, but nothing reads it.'
        f'{_hint(name, known)} Macros of this file: {", ".join(known)}.'
      )
    direct = readers[name][-1]
    if last[name] > max(last[reader] for reader in readers[name]):
      raise gin_syntax.GinSyntaxError(
        f'The macro {name!r} is set, but {direct}, which would read it, was '
        'set before to a value of its own; remove one of the two.'
      )


def _check_scope(
  statement: gin_syntax.Statement, statements: Sequence[gin_syntax.Statement]
) -> None:
  """Refuses to set something in a scope in which nothing is made.

  A scope that was named is known, even if its reference was replaced later.
  """
  scope, name = statement.scope, statement.configurable
  made = {
    reference.rpartition('/')[0]
    for each in statements
    for reference in each.makes
    if reference.rpartition('/')[2] == name
  }
  if any(f'{each}/'.startswith(f'{scope}/') for each in made):
    return
  key = f'{name}.{statement.parameter}'
  if scopes := sorted(made - {''}):
    near = fields.nearest(scope, scopes)
    advice = (
      f'Did you mean {f"{near}/{key}"!r}?'
      if near
      else f'Scopes of {name}: {", ".join(scopes)}.'
    )
  else:
    advice = f'{name} has no scopes: write {key}.'
  raise gin_syntax.GinSyntaxError(
    f'{statement.place}: nothing reads {statement.name!r}, since nothing makes '
    f'a @{scope}/{name}(). {advice}'
  )


def _check_reference(
  reference: str,
  statement: gin_syntax.Statement,
  statements: Sequence[gin_syntax.Statement],
) -> None:
  """Refuses a scope that nothing sets, where one much like it is set."""
  scope, _, name = reference.rpartition('/')
  scopes = {
    each.scope
    for each in statements
    if each.scope and each.configurable == name
  }
  if not scope or any(f'{scope}/'.startswith(f'{each}/') for each in scopes):
    return
  near = fields.nearest(scope, sorted(scopes), cutoff=_ALIKE)
  if near:
    raise gin_syntax.GinSyntaxError(
      f'{statement.place}: @{reference}() has the scope {scope!r}, in which '
      f'nothing is set. Did you mean {f"@{near}/{name}()"!r}?'
    )


def _nodes(last: dict[str, gin_syntax.Statement]) -> list[str]:
  """Returns all that is set or made: macros, and '@scope/Name'."""
  made = {f'@{name}' for each in last.values() for name in each.makes}
  return sorted({name for name, each in last.items() if each.is_macro} | made)


def _leads_to(
  node: str, last: dict[str, gin_syntax.Statement]
) -> dict[str, str]:
  """Returns what gin needs to evaluate a node: each with who says so.

  A reference is made in its own scope, whatever the scope of who makes it; for
  each parameter the innermost scope wins.
  """
  if not node.startswith('@'):
    found = [last[node]]
  else:
    scope, _, name = node[1:].rpartition('/')
    innermost: dict[str, gin_syntax.Statement] = {}
    for each in sorted(last.values(), key=lambda each: len(each.scope)):
      inside = not each.scope or f'{scope}/'.startswith(f'{each.scope}/')
      if each.configurable == name and inside:
        innermost[each.parameter] = each
    found = list(innermost.values())
  return {
    other: each.name
    for each in found
    for other in sorted(each.reads | {f'@{made}' for made in each.makes})
  }


def _check_no_circle(
  graph: dict[str, dict[str, str]], *, last: dict[str, gin_syntax.Statement]
) -> None:
  """Refuses what leads back to itself, perhaps by others."""
  done: set[str] = set()
  for start in graph:
    # A stack of our own: Python's has an end.
    path: list[str] = [start]
    pending: list[Iterator[str]] = [iter(graph[start])]
    while pending:
      node = next(pending[-1], None)
      if node is None:
        done.add(path.pop())
        pending.pop()
      elif node in path:
        _refuse_circle([*path[path.index(node) :], node], graph, last=last)
      elif node in graph and node not in done:
        path.append(node)
        pending.append(iter(graph[node]))


def _refuse_circle(
  circle: list[str],
  graph: dict[str, dict[str, str]],
  *,
  last: dict[str, gin_syntax.Statement],
) -> None:
  """Raises the error that names what leads back to itself."""
  body = circle[:-1]
  begin = body.index(min(body))
  circle = [*body[begin:], *body[: begin + 1]]
  first, second = circle[0], circle[1]
  shown = ' = '.join(
    f'{each}()' if each.startswith('@') else f'%{each}' for each in circle
  )
  if first.startswith('@'):
    setter = graph[first][second]
    raise gin_syntax.GinSyntaxError(
      f'{last[setter].place}: {setter} needs what it is a part of: {shown}; '
      'give it a value.'
    )
  raise gin_syntax.GinSyntaxError(
    f'The macro {first!r} is set to itself: {shown}; give it a value.'
  )


def without_unread(text: str) -> str:
  """Returns a configuration as gin prints it, without macros nobody reads.

  They are those whose reader is set to something else; the next to read the
  file would be told that nothing reads them.
  """
  while True:
    joined = gin_start.joined(text)
    read = set(re.findall(r'%([\w/]+)', joined))
    names = re.findall(r'^([\w/]+) = ', joined, flags=re.MULTILINE)
    unread = [name for name in names if name not in read]
    if not unread:
      return text
    for name in unread:
      # Its value may go on in lines that are indented.
      text = re.sub(
        rf'^{name} = .*\n(?:[ \t]+.*\n)*', '', text, flags=re.MULTILINE
      )
