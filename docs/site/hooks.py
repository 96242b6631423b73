"""What the site has beside the pages of docs/, for MkDocs.

Its first page is README.md, and the pages of the project stand in the root,
too. Notebooks become pages, with what their cells print and draw. A link that
leads to a file of the repository leads to a page with that file: the site needs
no other place. A link to nothing is an error, and so is whatever a page would
fetch from elsewhere.
"""

import logging
import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.site import notebooks

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Pages that stand in the root, and where they are in the site.
PROJECT = {
  'README.md': 'index.md',
  'CONTRIBUTING.md': 'project/contributing.md',
  'CHANGELOG.md': 'project/changelog.md',
  'SECURITY.md': 'project/security.md',
}
# How a file is coloured.
_LANGUAGES = {
  '.py': 'python',
  '.gin': 'python',
  '.json': 'json',
  '.yaml': 'yaml',
  '.cff': 'yaml',
}
# A link of Markdown, but for those to other places and within a page.
_LINK = re.compile(r'\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)')
# Code, in which nothing is a link.
_CODE = re.compile(r'(^ {4}.*$|^```[\s\S]*?^```$|`[^`\n]*`)', re.M)
# What a browser would fetch while it shows a page.
_FETCHED = re.compile(
  r'<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*'
  r'\b(?:src|data)="?(?:https?:)?//[^">]*'
  r'|<link\b(?=[^>]*\brel="?(?:stylesheet|preconnect|preload|icon))[^>]*'
  r'\bhref="?(?:https?:)?//[^">]*'
  r'|(?:url\(|@import )["\']?(?:https?:)?//[^"\')]*'
)

_log = logging.getLogger('mkdocs.hooks.official_coatnet')


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pages of the root, and the files that pages link to."""
  texts = {f'docs/{file.src_uri}': file for file in files.documentation_pages()}
  sources = set()
  for name in [*texts, *PROJECT]:
    for target in _targets(name):
      if (ROOT / target).is_file() and _is_source(target):
        sources.add(target)
  for name, uri in PROJECT.items():
    text = (ROOT / name).read_text(encoding='utf-8')
    files.append(File.generated(config, uri, content=text))
  for name in notebooks.NAMES:
    try:
      text = notebooks.to_markdown(name)
    except ValueError as error:
      raise PluginError(str(error)) from error
    files.append(File.generated(config, f'notebooks/{name}.md', content=text))
  for source in sorted(sources):
    file = File.generated(config, f'source/{source}.md', content=_shown(source))
    files.append(file)
  return files


def on_page_markdown(
  markdown: str, *, page: Page, config: MkDocsConfig, files: Files
) -> str:
  """Leads links out of docs/ to where the site has what they mean."""
  del config, files
  uri = page.file.src_uri
  if uri.startswith('source/'):
    return markdown
  name = next((n for n, u in PROJECT.items() if u == uri), f'docs/{uri}')

  def replace(match: re.Match[str]) -> str:
    target = _resolve(name, match.group(1))
    found = _place(target)
    if found is None:
      _log.warning('%s links to %s, which is not there.', name, match.group(1))
      return match.group(0)
    path = posixpath.relpath(found, posixpath.dirname(uri) or '.')
    return f']({path}{match.group(2) or ""})'

  parts = _CODE.split(markdown)
  return ''.join(
    part if i % 2 else _LINK.sub(replace, part) for i, part in enumerate(parts)
  )


def on_post_build(config: MkDocsConfig) -> None:
  """Refuses a site that would fetch anything from elsewhere."""
  site = pathlib.Path(config.site_dir)
  for path in sorted([*site.rglob('*.html'), *site.rglob('*.css')]):
    if found := _FETCHED.search(path.read_text(encoding='utf-8')):
      raise PluginError(
        f'{path.relative_to(site)} fetches something from elsewhere: '
        f'{found.group(0)[:200]}'
      )


def _resolve(name: str, link: str) -> str:
  """Returns the path from the root that a link on a page means."""
  return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))


def _targets(name: str) -> set[str]:
  """Returns what a page links to, as paths from the root."""
  text = _CODE.sub('', (ROOT / name).read_text(encoding='utf-8'))
  return {_resolve(name, match.group(1)) for match in _LINK.finditer(text)}


def _is_source(target: str) -> bool:
  return target not in PROJECT and not target.startswith('docs/')


def _place(target: str) -> str | None:
  """Returns where the site has a file of the repository."""
  if target in PROJECT:
    return PROJECT[target]
  if target == 'docs':
    return 'index.md'
  path = ROOT / target
  if not path.is_file():
    return None
  if target.startswith('docs/'):
    found = target.removeprefix('docs/')
    return re.sub(r'^(notebooks/\w+)\.ipynb$', r'\1.md', found)
  return f'source/{target}.md'


def _shown(source: str) -> str:
  """Returns a page with a file of the repository."""
  text = (ROOT / source).read_text(encoding='utf-8')
  language = _LANGUAGES.get(pathlib.Path(source).suffix, 'text')
  head = f'---\nsearch:\n  exclude: true\n---\n# {source}\n\n'
  return f'{head}````{language}\n{text.rstrip()}\n````\n'
