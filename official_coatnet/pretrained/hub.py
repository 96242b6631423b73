"""From the name of weights, or a path, to a file on this machine.

Files of the Hugging Face hub are fetched, and kept, by its own library, which
is imported when it is needed: the extra `weights`.
"""

import dataclasses
import os
from typing import Any

from official_coatnet import extras, files
from official_coatnet.data import file_kinds
from official_coatnet.pretrained import published as published_lib
from official_coatnet.pretrained.published import Published

WEIGHTS_FILE = 'model.safetensors'
CONFIG_FILE = 'config.json'
# As timm writes a repository of the hub that is none of its own.
HUB_PREFIX = 'hf-hub:'
_ENDINGS = ('.safetensors', '.h5', '.hdf5')
_PICKLED = ('.pth', '.pt', '.bin', '.ckpt', '.pkl', '.tar')
_URL = 'https://huggingface.co/{}/resolve/main/{}'


@dataclasses.dataclass(frozen=True)
class WeightsFile:
  """A file of weights on this machine.

  Attributes:
    source: The name or path that was asked for.
    path: The file: .safetensors, .h5 or .hdf5.
    row: What is known of it, if it is a published one by its name.
    settings: What config.json beside it says; None where there is none.
    url: Where it was fetched from; None of a local file.
  """

  source: str
  path: str
  row: Published | None = None
  settings: dict[str, Any] | None = None
  url: str | None = None


def is_name(source: str) -> bool:
  """Whether a string means weights that others publish, and is no path."""
  if os.path.exists(source):
    return False
  origins = (f'{published_lib.TIMM}/', f'{published_lib.KECAM}/', HUB_PREFIX)
  return source.startswith(origins) or published_lib.find(source) is not None


def is_weights(path: str) -> bool:
  """Whether there is a file of weights, or a folder that holds one."""
  if os.path.isdir(path):
    return any(
      os.path.splitext(name)[1] in (*_ENDINGS, *_PICKLED)
      for name in os.listdir(path)
    )
  return os.path.isfile(path) and path.endswith((*_ENDINGS, *_PICKLED))


def find(source: str) -> WeightsFile:
  """Finds weights, and fetches them where they are not on this machine yet.

  Args:
    source: The name of published weights ('timm/coatnet_0_rw_224.sw_in1k', also
      without 'timm/'); 'hf-hub:owner/name', another repository of the hub; or
      a path: a file, or a folder with one.

  Raises:
    ValueError: If there is no such thing, or it cannot be had, with what to do.
    ImportError: If a library is missing, likewise.
  """
  if os.path.exists(path := files.expand(source)):
    return _find_local(source, path)
  row = published_lib.find(source)
  if row is not None and row.origin == published_lib.KECAM:
    raise ValueError(
      f'{row.name!r} is on no hub: download {row.url} and give the path of '
      'that file in place of the name.'
    )
  if row is not None:
    path = _download(row.name, WEIGHTS_FILE)
    return WeightsFile(source, path, row=row, url=row.url)
  if source.startswith(HUB_PREFIX):
    repository = source.removeprefix(HUB_PREFIX)
    settings = _read_settings(_download(repository, CONFIG_FILE))
    return WeightsFile(
      source,
      _download(repository, WEIGHTS_FILE),
      settings=settings,
      url=_URL.format(repository, WEIGHTS_FILE),
    )
  near = published_lib.nearest(source)
  hint = f' Did you mean {near!r}?' if near else ''
  raise ValueError(
    f'{source!r} is neither a file or folder nor the name of published '
    f'weights.{hint} `tools/import_weights.py --list` shows all names; '
    f"'{HUB_PREFIX}owner/name' means another repository of the Hugging Face "
    'hub.'
  )


def _find_local(source: str, path: str) -> WeightsFile:
  if os.path.isdir(path):
    path = _choose(path)
  if path.endswith(_PICKLED):
    raise ValueError(
      f'{path} is a pickle, which may run any code when it is read, and is not '
      f'read here. Give the {WEIGHTS_FILE} of the same repository, or convert '
      'it where you trust it: safetensors.torch.save_file(torch.load(FILE), '
      f"'{WEIGHTS_FILE}')."
    )
  if not path.endswith(_ENDINGS):
    raise ValueError(
      f'{path} is no file of weights that is read here: those end in '
      f'{", ".join(_ENDINGS)}.'
    )
  settings = os.path.join(os.path.dirname(path), CONFIG_FILE)
  return WeightsFile(
    source,
    path,
    row=_row_by_name(path),
    settings=_read_settings(settings) if os.path.exists(settings) else None,
  )


def _choose(folder: str) -> str:
  """Returns the one file of weights in a folder."""
  names = sorted(os.listdir(folder))
  if WEIGHTS_FILE in names:
    return os.path.join(folder, WEIGHTS_FILE)
  found = [name for name in names if name.endswith(_ENDINGS)]
  found = found or [name for name in names if name.endswith(_PICKLED)]
  if len(found) == 1:
    return os.path.join(folder, found[0])
  what = f'several, {", ".join(found)}' if found else 'none'
  raise ValueError(
    f'The folder {folder!r} must hold {WEIGHTS_FILE}, or one file that ends in '
    f'{", ".join(_ENDINGS)}; it holds {what}. Give the path of the file.'
  )


def _row_by_name(path: str) -> Published | None:
  """Returns what is known of a file by its own name, or its folder's."""
  stem = os.path.splitext(os.path.basename(path))[0]
  folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
  for name in (stem, f'{published_lib.KECAM}/{stem}', folder):
    if row := published_lib.find(name):
      return row
  return None


def _read_settings(path: str) -> dict[str, Any]:
  try:
    settings = files.read_json(path)
  except ValueError as error:
    raise ValueError(f'{path} is no JSON ({error}): copy it again.') from error
  if not isinstance(settings, dict):
    raise ValueError(
      f'{path} holds no JSON object: it is no {CONFIG_FILE} of a network.'
    )
  return settings


def _download(repository: str, name: str) -> str:
  """Returns the path of a file of the hub, in the cache of its library."""
  url = _URL.format(repository, name)
  folder = repository.rpartition('/')[2]
  by_hand = (
    f'download {url} into a folder {folder!r}, and give its path in place of '
    'the name'
  )
  huggingface_hub, errors = (
    extras.load(
      module,
      extra='weights',
      purpose=f'{repository!r} is on the hub of Hugging Face, which',
      instead=by_hand,
    )
    for module in ('huggingface_hub', 'huggingface_hub.errors')
  )
  try:
    try:
      return huggingface_hub.hf_hub_download(
        repository, name, local_files_only=True
      )
    except errors.LocalEntryNotFoundError:
      return huggingface_hub.hf_hub_download(repository, name)
  except errors.HFValidationError as error:
    raise ValueError(
      f'{repository!r} is no name of a repository: {error}'
    ) from error
  except errors.RepositoryNotFoundError as error:
    raise ValueError(
      f'https://huggingface.co/{repository} does not exist, or is not open to '
      'everyone.'
    ) from error
  except errors.LocalEntryNotFoundError as error:
    raise ValueError(_unreachable(repository, by_hand)) from error
  except errors.EntryNotFoundError as error:
    raise ValueError(_without(repository, name)) from error
  except (OSError, errors.HfHubHTTPError) as error:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(f'{_unreachable(repository, by_hand)} ({text})') from error


def _unreachable(repository: str, by_hand: str) -> str:
  return (
    f'{repository!r} is not in the cache of this machine, and the Hugging Face '
    f'hub cannot be reached. On a machine that reaches it, {by_hand}; of '
    f'{CONFIG_FILE} beside it, class names and preprocessing are read.'
  )


def _without(repository: str, name: str) -> str:
  message = f'https://huggingface.co/{repository} has no {name}.'
  if name == WEIGHTS_FILE:
    message += (
      ' Its weights may be a pickle, which may run any code when it is read, '
      'and is not read here; ask its owner for safetensors.'
    )
  return message


def describe_head(path: str) -> str:
  """Says what a file is that cannot be read as weights."""
  size = os.path.getsize(path)
  kind = file_kinds.other_kind(file_kinds.read_head(path)) if size else None
  if kind is not None and not kind[0].startswith('an HDF5'):
    return f'it is {kind[0]}'
  return f'it has {size:,} bytes, and is damaged or cut short'
