"""The names that users' commands, gin files and saved networks hold.

    python -m tests.compatibility.names --write

adds the names of today to names.json. A name that is there stays there: it has
no way to take one out.
"""

import glob
import inspect
import json
import os
import re
import sys
from typing import Any

import gin
import tensorflow as tf

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import gin_config
from tests.compatibility import command_line

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'names.json')
_MODULE = 'coatnet'
_REFERENCE = re.compile(r'%(\w+)')
# Together they have every kind of layer.
_NETWORKS = {
  'coatnet_test': {},
  'layer_norm, C-C-C-C': {'norm': 'layer_norm', 'layout': 'C-C-C-C'},
  'folded': {'norm': 'none', 'implementation': 'onednn'},
  'depthwise, no head layer': {
    'downsample': 'depthwise',
    'representation_size': None,
  },
  'tpu, two blocks': {'implementation': 'tpu', 'blocks': (2, 1, 2, 2, 1)},
  'ViT_REL': {'layout': 'ViT_REL', 'blocks': (1, 2), 'widths': (32, 32)},
}


def gin_names() -> dict[str, list[str]]:
  """Returns what gin files may configure: selectors, each with parameters."""
  _load(gin_files()[0])
  return {
    selector: sorted(inspect.signature(configurable.wrapped).parameters)
    for selector, configurable in gin.config._REGISTRY.items()
    if selector.split('.')[0] == _MODULE
  }


def gin_files() -> list[str]:
  """Returns the gin files that are a run each, as paths from the root."""
  found = glob.glob('gin/*.gin', root_dir=command_line.ROOT)
  found += glob.glob('gin/ablations/*.gin', root_dir=command_line.ROOT)
  return sorted(found)


def gin_macros() -> dict[str, list[str]]:
  """Returns the macros that each gin file reads."""
  macros = {}
  for path in gin_files():
    _load(path)
    macros[path] = sorted(set(_REFERENCE.findall(gin.config_str())))
  return macros


def _load(path: str):
  """Loads a gin file by what tools/train.py calls."""
  gin_config.load([path], root=command_line.ROOT)


def flags() -> dict[str, dict[str, Any]]:
  """Returns the flags of each tool, with their defaults."""
  return {
    tool: {
      name: portable(default)
      for name, default in command_line.defined_flags(tool).items()
    }
    for tool in tools()
  }


def tools() -> list[str]:
  """Returns the tools that have flags, as paths from the root."""
  found = []
  for folder in ('tools', 'tools/benchmark'):
    for name in sorted(os.listdir(os.path.join(command_line.ROOT, folder))):
      path = os.path.join(command_line.ROOT, folder, name)
      if not name.endswith('.py'):
        continue
      with open(path) as f:
        if 'tools.prologue.run(' in f.read():
          found.append(f'{folder}/{name}')
  return found


def portable(value: Any) -> Any:
  """Takes the folders of this machine out of a default."""
  if isinstance(value, str):
    value = value.replace(command_line.ROOT, '<root>')
    return value.replace(os.path.expanduser('~'), '<home>')
  return value


def keras_names() -> list[str]:
  """Returns the classes that a saved network or optimizer may hold."""
  names = tf.keras.utils.get_custom_objects()
  return sorted(name for name in names if name.startswith('official_coatnet>'))


def variables() -> dict[str, dict[str, list[int]]]:
  """Returns name and shape of the variables of a few networks."""
  return {
    name: {
      variable.name: variable.shape.as_list()
      for variable in network.classifier(
        config_lib.ModelConfig(
          'coatnet_test', image_size=32, num_classes=3, **settings
        )
      ).variables
    }
    for name, settings in _NETWORKS.items()
  }


def all_names() -> dict[str, Any]:
  """Returns what names.json holds."""
  # Before the tools, which import more than a user of the network need import.
  keras = keras_names()
  # Before gin is loaded: Model Garden registers names of its own when it is
  # imported, which gin no longer allows then.
  all_flags = flags()
  return {
    'keras': dict.fromkeys(keras, True),
    'keras_model_garden': dict.fromkeys(keras_names(), True),
    'flags': all_flags,
    'gin': {k: dict.fromkeys(v, True) for k, v in gin_names().items()},
    'gin_macros': {k: dict.fromkeys(v, True) for k, v in gin_macros().items()},
    'variables': variables(),
  }


def missing(expected: Any, actual: Any, *, name: str = '') -> list[str]:
  """Returns what was, and is no longer or otherwise; a line each."""
  if not isinstance(expected, dict):
    changed = f'{name}: was {expected!r}, is {actual!r}'
    return [] if expected == actual else [changed]
  lines = []
  for key, value in expected.items():
    if key not in actual:
      lines.append(f'{name}: {key!r} is gone')
    else:
      lines += missing(value, actual[key], name=f'{name}: {key}'.strip(': '))
  return lines


def main(argv):
  """Writes the file, and says of what is gone that it stays."""
  if argv[1:] != ['--write']:
    sys.exit('usage: python -m tests.compatibility.names --write')
  names = all_names()
  if os.path.exists(FILE):
    with open(FILE) as f:
      gone = missing(json.load(f), names)
    if gone:
      sys.exit('\n'.join(['names.py: not written.', *gone]))
  with open(FILE, 'w') as f:
    f.write(json.dumps(names, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
  main(sys.argv)
