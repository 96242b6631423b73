"""Brings the BUILD files up to date: `make build-files`.

One rule a Python file, with the imports of that file as its deps. Everything
else in a BUILD file is written by hand and kept as it is: size, shard_count,
tags, data, env of a rule, the comment above it, other rules.
"""

import ast
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP_FOLDERS = ('official_coatnet', 'tests', 'tools')

NEW_FILE = """load("@rules_python//python:defs.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])
"""

# kind: py_library, py_binary or py_test; deps: sorted labels.
Rule = collections.namedtuple('Rule', 'kind name srcs deps')


def python_files(*tops: str) -> list[pathlib.Path]:
  """All Python files in the named folders, relative to the repository root."""
  found = (path for top in tops for path in (ROOT / top).rglob('*.py'))
  return sorted(path.relative_to(ROOT) for path in found)


def imported_files(path: pathlib.Path) -> set[pathlib.Path]:
  """First-party files that the file at `path` imports, wherever it does so."""
  names = set()
  for node in ast.walk(ast.parse((ROOT / path).read_text())):
    if isinstance(node, ast.Import):
      names.update((alias.name, '') for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      module = node.module or ''
      if node.level:  # `from . import a` is relative to the file's folder.
        package = path.parents[node.level - 1].parts
        module = '.'.join((*package, module)).strip('.')
      names.update((module, alias.name) for alias in node.names)
  return {file for name in names if (file := _file_of(*name))}


def _file_of(module: str, attribute: str) -> pathlib.Path | None:
  """The first-party file behind `from module import attribute`, if any."""
  base = pathlib.Path(*module.split('.'))
  if base.parts[:1] and base.parts[0] not in TOP_FOLDERS:
    return None
  candidates = [base.with_suffix('.py'), base / '__init__.py']
  if attribute:  # It may itself be a module.
    inner = base / attribute
    candidates = [inner.with_suffix('.py'), inner / '__init__.py', *candidates]
  return next((c for c in candidates if (ROOT / c).is_file()), None)


def _name(path: pathlib.Path) -> str:
  return path.parent.name if path.stem == '__init__' else path.stem


def _label(path: pathlib.Path, *, seen_from: pathlib.Path) -> str:
  if path.parent == seen_from:
    return f':{_name(path)}'
  short = path.stem == '__init__'
  return f'//{path.parent}' + ('' if short else f':{_name(path)}')


def rule_for(path: pathlib.Path) -> Rule:
  """The rule that the Python file at `path` has to have."""
  kind = 'py_library'
  if path.parts[0] == 'tests' and path.stem.endswith('_test'):
    kind = 'py_test'
  elif path.parts[0] == 'tools' and '__main__' in (ROOT / path).read_text():
    kind = 'py_binary'
  needed = imported_files(path)
  if kind != 'py_test':
    # Importing a module runs the __init__.py of its package first.
    package = path.parent.parent if path.stem == '__init__' else path.parent
    if (ROOT / package / '__init__.py').is_file():
      needed.add(package / '__init__.py')
  labels = {_label(p, seen_from=path.parent) for p in needed - {path}}
  return Rule(kind, _name(path), [path.name], sorted(labels, key=_label_order))


def _label_order(label: str) -> tuple[bool, str]:
  """Buildifier's order: labels of the same package come first."""
  return (not label.startswith(':'), label.replace(':', '!'))


def _render(rule: Rule, kept: dict[str, str]) -> str:
  """Source of a rule; `kept` has the hand-written attributes as they stand."""
  first = ('size', 'timeout')
  lines = [f'name = "{rule.name}"']
  lines += [f'{key} = {kept[key]}' for key in first if key in kept]
  lines += [f'srcs = {_render_list(rule.srcs)}']
  lines += [f'{key} = {kept[key]}' for key in kept if key not in first]
  if rule.deps:
    lines += [f'deps = {_render_list(rule.deps)}']
  body = ''.join(f'    {line},\n' for line in lines)
  return f'{rule.kind}(\n{body})\n'


def _render_list(values: list[str]) -> str:
  if len(values) == 1:
    return f'["{values[0]}"]'
  return '[\n' + ''.join(f'        "{v}",\n' for v in values) + '    ]'


def parse(text: str) -> tuple[str, dict[str, tuple[Rule, dict, str, str]]]:
  """Splits a BUILD file into its Python rules and all the rest.

  Args:
    text: The BUILD file, whose syntax is that of Python.

  Returns:
    The rest, and by name: the rule, the source of its other attributes, what
    stands above it, its source.
  """
  rest, rules, line = '', {}, 0
  lines = text.splitlines(keepends=True)
  for node in ast.parse(text).body:
    above = ''.join(lines[line : node.lineno - 1])
    chunk = ''.join(lines[node.lineno - 1 : node.end_lineno])
    line = node.end_lineno
    call = getattr(node, 'value', None)
    kind = getattr(getattr(call, 'func', None), 'id', '')
    if kind not in ('py_library', 'py_binary', 'py_test'):
      rest += above + chunk
      continue
    source = {
      k.arg: ast.get_source_segment(text, k.value) for k in call.keywords
    }
    values = [
      ast.literal_eval(source.pop(key, default))
      for key, default in (('name', '""'), ('srcs', '[]'), ('deps', '[]'))
    ]
    rules[values[0]] = (Rule(kind, *values), source, above, chunk)
  return rest + ''.join(lines[line:]), rules


def updated(text: str, wanted: list[Rule]) -> str:
  """The BUILD file `text` with exactly the `wanted` Python rules."""
  rest, present = parse(text or NEW_FILE)
  chunks = []
  for rule in sorted(wanted, key=lambda rule: rule.name):
    old, kept, above, chunk = present.get(rule.name, (None, {}, '\n', ''))
    chunks.append(above + (chunk if old == rule else _render(rule, kept)))
  kinds = ''.join(f', "{kind}"' for kind in sorted({r.kind for r in wanted}))
  load = f'load("@rules_python//python:defs.bzl"{kinds})'
  rest = re.sub(r'load\("@rules_python//python:defs.bzl"[^)]*\)', load, rest)
  return rest.rstrip('\n') + '\n' + ''.join(chunks)


def all_updated() -> dict[pathlib.Path, tuple[str, str]]:
  """For each BUILD file beside Python files: what it says, and should say."""
  rules = collections.defaultdict(list)
  for path in python_files(*TOP_FOLDERS):
    rules[path.parent / 'BUILD'].append(rule_for(path))
  texts = {}
  for build, wanted in rules.items():
    file = ROOT / build
    text = file.read_text() if file.exists() else ''
    texts[build] = (text, updated(text, wanted))
  return texts


if __name__ == '__main__':
  for build_file, (before, after) in all_updated().items():
    if before != after:
      print('updated', build_file)
      (ROOT / build_file).write_text(after)
