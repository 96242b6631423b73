"""Docstrings as they are meant, for the pages of the Python API.

Ours are plain text but for `code` in backticks: what Markdown would take for
emphasis, such as the two asterisks of [heads, H*W, H*W], is to be shown.
"""

import re

import griffe

_CODE = re.compile(r'(`[^`]*`|^ {4,}.*$)', re.M)


class PlainText(griffe.Extension):
  """Escapes what Markdown would read into a docstring."""

  def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
    """Is called for each module, class, function and attribute."""
    del kwargs
    if obj.docstring is not None:
      obj.docstring.value = escaped(obj.docstring.value)


def escaped(text: str) -> str:
  """Returns a docstring whose code is left alone."""
  parts = _CODE.split(text)
  parts[::2] = [
    re.sub(r'(\*|\b_\b|(?<!\w)_|_(?!\w))', r'\\\1', part).replace('<', '&lt;')
    for part in parts[::2]
  ]
  return ''.join(parts)
