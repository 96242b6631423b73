"""Which network a file of weights is of, and how its images are prepared.

The weights say themselves which of the known networks they are of. The rest is
what is known of a published file, or what config.json beside it says.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from official_coatnet.data import resizing
from official_coatnet.modeling import config as config_lib, families, sizes
from official_coatnet.pretrained import (
  conversion,
  hub,
  kecam,
  published as published_lib,
  timm,
)
from official_coatnet.pretrained.published import Published

# What a network of timm may be given that is none of its architecture.
_HARMLESS = ('img_size', 'num_classes', 'drop_rate', 'drop_path_rate')
_GRID_LEVEL = 4  # The first transformers see 1/16 of the image.
_TABLES = re.compile(
  r'stages\.2\..*relative_position_bias_table|'
  r'stack_3_block_1_mhsa_pos_emb/positional_embedding'
)


@dataclasses.dataclass(frozen=True)
class Preparation:
  """How images become what a network was trained on; fields of DataConfig.

  Attributes:
    center_crop: False where the whole image is squeezed into shape.
    eval_crop_fraction: Share of the side that evaluation cuts out.
    interpolation: Of `resizing.METHODS`.
    mean: Of red, green and blue in 0..1.
    deviation: What they are divided by then.
  """

  center_crop: bool
  eval_crop_fraction: float
  interpolation: str
  mean: tuple[float, ...]
  deviation: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Identity:
  """What a file of weights is.

  Attributes:
    model: Row of the size table.
    image_size: Side of the images in pixels.
    num_classes: Of its last layer.
    preparation: Of its images.
    class_names: Their names; None where they are not known.
    row: What is known of it where it is a published one.
  """

  model: str
  image_size: int
  num_classes: int
  preparation: Preparation
  class_names: tuple[str, ...] | None
  row: Published | None

  @property
  def origin(self) -> str:
    """'timm' or 'kecam'."""
    return self.model.partition('_')[0]

  def lines(self, config: config_lib.ModelConfig) -> list[conversion.Line]:
    """Returns the table of names for a network of this kind."""
    tables = {published_lib.TIMM: timm.lines, published_lib.KECAM: kecam.lines}
    return tables[self.origin](config)


def identify(
  file: hub.WeightsFile, state: Mapping[str, np.ndarray]
) -> Identity:
  """Says what a file of weights is.

  Args:
    file: Where it is from.
    state: Its arrays, by name.

  Raises:
    ValueError: If it is of no network that is known here, of another one than
      its name says, or if nothing says how its images are prepared.
  """
  settings = file.settings
  architecture = (settings or {}).get('architecture')
  model = _find_model(state, file.path, architecture=architecture)
  num_classes = _num_classes(state, file.path)
  if settings is not None and architecture is not None:
    expected = _model_of(str(architecture))
    if expected != model:
      raise _other_network(file.path, expected, model)
    return _by_settings(settings, state, model=model, num_classes=num_classes)
  row = file.row
  if row is None:
    row = _alike(file, state, model=model, num_classes=num_classes)
  elif row.model != model:
    raise _other_network(file.path, row.model, model)
  known = row.num_classes == num_classes
  return Identity(
    model,
    _image_size(state) or row.image_size,
    num_classes,
    preparation_of(row),
    published_lib.read_class_names(row.class_names) if known else None,
    row if known and row == file.row else None,
  )


def preparation_of(row: Published) -> Preparation:
  """Returns how images of a published network are prepared."""
  return Preparation(
    row.center_crop,
    row.crop_fraction,
    'bicubic',
    row.mean,
    row.deviation,
  )


def _model_of(architecture: str) -> str:
  """'coatnet_0_rw_224' -> 'timm_coatnet_0_rw'; as it is where there is none."""
  name = f'timm_{re.sub(r"_[0-9]{2,}$", "", architecture)}'
  if name not in sizes.SIZES:
    known = sorted({row.model for row in published_lib.PUBLISHED.values()})
    raise ValueError(
      f'`architecture` in config.json is {architecture!r}, which is no network '
      f'that is known here; known are {", ".join(known)}.'
    )
  return name


def _other_network(path: str, expected: str, found: str) -> ValueError:
  return ValueError(
    f'{path} should hold weights of {expected!r} by its name or config.json, '
    f'and holds those of {found!r}. Give the file that belongs to it, or give '
    'this one a name of its own.'
  )


def _by_settings(
  settings: Mapping[str, Any],
  state: Mapping[str, np.ndarray],
  *,
  model: str,
  num_classes: int,
) -> Identity:
  """Of a repository of timm's making: config.json says what it is."""
  changed = set(settings.get('model_args') or {}) - set(_HARMLESS)
  if changed:
    raise ValueError(
      f'`model_args` in config.json changes {", ".join(sorted(changed))}, '
      'which is not read here: the network is none of those that are known.'
    )
  cfg = settings.get('pretrained_cfg') or settings
  name = f'{settings["architecture"]}.{cfg.get("tag", "")}'
  row = published_lib.find(name)
  if row is not None and row.num_classes != num_classes:
    row = None
  try:
    mode = cfg.get('crop_mode', 'center')
    if mode not in ('center', 'squash'):
      raise ValueError(f'`crop_mode` is {mode!r}; known are center and squash')
    if cfg['interpolation'] not in resizing.METHODS:
      raise ValueError(
        f'`interpolation` is {cfg["interpolation"]!r}; known are '
        f'{", ".join(resizing.METHODS)}'
      )
    preparation = Preparation(
      mode == 'center',
      float(cfg['crop_pct']),
      cfg['interpolation'],
      tuple(map(float, cfg['mean'])),
      tuple(map(float, cfg['std'])),
    )
    size = _image_size(state) or int(cfg['input_size'][-1])
  except (KeyError, TypeError, ValueError, IndexError) as error:
    raise ValueError(
      'config.json does not say how images are prepared: '
      f'{f"it lacks {error}" if isinstance(error, KeyError) else error}.'
    ) from error
  return Identity(
    model,
    size,
    num_classes,
    preparation,
    _class_names(settings, row, num_classes=num_classes),
    row,
  )


def _class_names(
  settings: Mapping[str, Any], row: Published | None, *, num_classes: int
) -> tuple[str, ...] | None:
  names = settings.get('label_names')
  if isinstance(names, list) and len(names) == num_classes:
    return tuple(map(str, names))
  return published_lib.read_class_names(row.class_names) if row else None


def _alike(
  file: hub.WeightsFile,
  state: Mapping[str, np.ndarray],
  *,
  model: str,
  num_classes: int,
) -> Published:
  """Returns a published row of the same network and preparation."""
  rows = [r for r in published_lib.PUBLISHED.values() if r.model == model]
  rows = [r for r in rows if r.num_classes == num_classes] or rows
  size = _image_size(state)
  rows = [r for r in rows if size in (None, r.image_size)] or rows
  if len({preparation_of(row) for row in rows}) == 1:
    return rows[0]
  names = ', '.join(row.name for row in rows) or 'none'
  raise ValueError(
    f'{file.path} holds weights of {model!r}, but nothing says how its images '
    f'are prepared. Published ones of this network: {names}. Put the '
    f'{hub.CONFIG_FILE} of its repository beside it, or call file or folder by '
    'one of these names.'
  )


def _image_size(state: Mapping[str, np.ndarray]) -> int | None:
  """Returns the side of the images by a table of relative bias, if any."""
  for name, array in state.items():
    if _TABLES.search(name):
      side = round(max(array.shape) ** 0.5)
      return (side + 1) // 2 * 2**_GRID_LEVEL
  return None


def _num_classes(state: Mapping[str, np.ndarray], path: str) -> int:
  for name in ('head.fc.bias', 'predictions/bias'):
    if name in state:
      return int(state[name].shape[0])
  raise ValueError(
    f'{path} has no last layer, and so says nothing of classes; take the '
    'weights of the whole network.'
  )


@dataclasses.dataclass(frozen=True)
class _Print:
  """What tells one network from another.

  Attributes:
    package: 'timm' or 'kecam'.
    depths: Blocks of S1 to S4.
    width: Channels of S4.
    features: Which of its parts not all networks have.
  """

  package: str
  depths: tuple[int, ...]
  width: int
  features: frozenset[str]


def _print_of_row(model: str) -> _Print:
  size = sizes.get_size(model)
  family = families.get_family(size.family)
  features = {
    'MLP of relative bias': 'rmlp' in model,
    'early squeeze-and-excitation': family.se_before_norm,
    'LayerScale': family.layer_scale is not None,
    'BatchNorm in transformers': family.transformer_norm == 'batch_norm',
    'tanh layer in the head': family.representation_size is not None,
  }
  return _Print(
    model.partition('_')[0],
    size.blocks[1:],
    size.widths[-1],
    frozenset(name for name, has in features.items() if has),
  )


# timm's and kecam's names of blocks: stage and block.
_BLOCKS = {
  published_lib.TIMM: re.compile(r'^stages\.(\d+)\.blocks\.(\d+)\.'),
  published_lib.KECAM: re.compile(r'^stack_(\d+)_block_(\d+)_'),
}
_FEATURES = {
  'MLP of relative bias': r'\.rel_pos\.mlp\.',
  'early squeeze-and-excitation': r'\.se_early\.',
  'LayerScale': r'\.ls1\.gamma$',
  'BatchNorm in transformers': r'^norm\.running_mean$',
  'tanh layer in the head': r'^head\.pre_logits\.',
}
# The last layer, and which of its axes is that of its input.
_LAST = {
  published_lib.TIMM: ('head.fc.weight', 1),
  published_lib.KECAM: ('predictions/kernel', 0),
}


def _find_model(
  state: Mapping[str, np.ndarray], path: str, *, architecture: Any
) -> str:
  found = _print_of_state(state)
  for model, size in sizes.SIZES.items():
    if size.origin in _BLOCKS and _print_of_row(model) == found:
      return model
  called = f', {architecture!r} by its config.json,' if architecture else ''
  what = 'they are of no CoAtNet'
  if found is not None:
    parts = ', '.join(sorted(found.features)) or 'no special parts'
    what = (
      f"they are by {found.package}'s names, with {list(found.depths)} blocks, "
      f'{found.width} channels at the end, and {parts}'
    )
  else:
    shown = ', '.join(list(state)[:3])
    what += f' ({shown}, ...)'
  known = sorted({row.model for row in published_lib.PUBLISHED.values()})
  raise ValueError(
    f'The weights in {path}{called} are of none of the networks that are known '
    f'here: {what}. Known are {", ".join(known)}.'
  )


def _print_of_state(state: Mapping[str, np.ndarray]) -> _Print | None:
  for package, pattern in _BLOCKS.items():
    places = {m.groups() for name in state if (m := pattern.match(name))}
    last, axis = _LAST[package]
    if not places or last not in state:
      continue
    stages = sorted({int(stage) for stage, _ in places})
    depths = tuple(
      sum(int(stage) == each for stage, _ in places) for each in stages
    )
    features = frozenset(
      feature
      for feature, words in _FEATURES.items()
      if any(re.search(words, name) for name in state)
    )
    return _Print(package, depths, int(state[last].shape[axis]), features)
  return None
