"""The notebooks as pages of the site, with what their cells print and draw.

    .venv_tf2.20/bin/python -m docs.site.notebooks

runs them one after the other, as a reader does, and writes what came of it to
docs/notebooks/outputs. The site shows that below the code of each cell, and is
not built where it is not of the code that stands there.
"""

import base64
import hashlib
import io
import json
import os
import pathlib
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'docs' / 'notebooks'
OUTPUTS = FOLDER / 'outputs'
# In the order in which they are read: each goes on with what the one before has
# left.
NAMES = ('build', 'finetune', 'read_run')
_PICTURE_WIDTH = 760


def digest(notebook: dict[str, Any]) -> str:
  """Returns a checksum of the code of all cells.

  Args:
    notebook: As JSON has it.
  """
  code = [
    ''.join(cell['source'])
    for cell in notebook['cells']
    if cell['cell_type'] == 'code'
  ]
  return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def to_markdown(name: str) -> str:
  """Returns the page of a notebook.

  Args:
    name: Of `NAMES`.

  Raises:
    ValueError: If what its cells have printed is not of their code.
  """
  notebook = _read(FOLDER / f'{name}.ipynb')
  path = OUTPUTS / f'{name}.json'
  stored = _read(path) if path.exists() else {'code': None}
  if stored['code'] != digest(notebook):
    raise ValueError(
      f'docs/notebooks/outputs has not what the code of {name}.ipynb prints: '
      'run `python -m docs.site.notebooks`.'
    )
  parts = []
  for cell in notebook['cells']:
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown':
      parts.append(source)
      continue
    parts.append(f'````python\n{source}\n````')
    for output in stored['cells'].get(cell['id'], ()):
      if 'text' in output:
        text = output['text'].rstrip()
        parts.append(f'````{{.text .output}}\n{text}\n````')
      else:
        parts.append(f'![What this cell draws](outputs/{output["picture"]})')
  # No link of Markdown, since that would lead to this page.
  parts.append(
    f'<a href="{name}.ipynb" download>This page as a notebook: {name}.ipynb</a>'
  )
  return '\n\n'.join(parts)


def execute(name: str, folder: str) -> dict[str, Any]:
  """Runs a notebook, and writes the pictures that it draws.

  Args:
    name: Of `NAMES`.
    folder: Where it runs, and has what those before it have left.

  Returns:
    What `to_markdown` reads.
  """
  # The builder of the site needs it not.
  from tests.fixtures import notebooks

  path = FOLDER / f'{name}.ipynb'
  notebook = notebooks.run(path, folder)
  cells = {}
  for cell in notebook.cells:
    outputs: list[dict[str, str]] = []
    is_printed = False
    for output in cell.get('outputs', ()):
      was_printed, is_printed = is_printed, output.get('name') == 'stdout'
      if is_printed:
        # What is printed at once may come in pieces.
        before = outputs.pop()['text'] if was_printed else ''
        outputs.append({'text': before + output.text})
      # What libraries say on standard error is of the machine, and left out.
      data = output.get('data', {})
      if 'image/png' in data:
        picture = f'{name}-{cell.id}-{len(outputs)}.png'
        _write_picture(data['image/png'], OUTPUTS / picture)
        outputs.append({'picture': picture})
      elif 'text/plain' in data:
        outputs.append({'text': data['text/plain']})
    if outputs:
      cells[cell.id] = outputs
  return {'code': digest(_read(path)), 'cells': cells}


def _write_picture(encoded: str, path: pathlib.Path) -> None:
  from docs.site import pictures

  picture = io.BytesIO(base64.b64decode(encoded))
  pictures.shrink(picture, path, width=_PICTURE_WIDTH)


def _read(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text(encoding='utf-8'))


def main() -> None:
  """Runs all, and writes what their cells have printed and drawn."""
  OUTPUTS.mkdir(exist_ok=True)
  for old in OUTPUTS.iterdir():
    old.unlink()
  os.environ.setdefault('PYTHONPATH', str(ROOT))
  with tempfile.TemporaryDirectory() as folder:
    for name in NAMES:
      outputs = json.dumps(execute(name, folder), indent=1) + '\n'
      (OUTPUTS / f'{name}.json').write_text(outputs, encoding='utf-8')
      print(name, flush=True)


if __name__ == '__main__':
  main()
