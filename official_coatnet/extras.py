"""Libraries that are not always there, and what to install where they are not.

setup.py asks for what a run needs. What takes much room or few people want is
one of its extras, and is imported here, when it is used: who has none of it
reads one sentence and no traceback.
"""

import importlib
from typing import Any


def load(name: str, *, extra: str, purpose: str, instead: str = '') -> Any:
  """Imports a library, or a module of it.

  Args:
    name: as an import statement has it.
    extra: the extra of setup.py that brings it.
    purpose: what takes it, which begins the sentence: 'The format onnx'.
    instead: another way out, which ends it: 'give a path'.

  Raises:
    ImportError: if it is not installed, or cannot be imported.
  """
  package = name.partition('.')[0]
  try:
    importlib.import_module(package)
    return importlib.import_module(name)
  except ImportError as error:
    other = f', or {instead}' if instead else ''
    raise ImportError(
      f'{purpose} takes the package {package}, which cannot be imported '
      f'({error}); run `pip install "official_coatnet[{extra}]"`{other}.'
    ) from error
