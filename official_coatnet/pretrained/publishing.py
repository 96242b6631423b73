"""A run's network for PyTorch: a folder that timm loads, and its way to a hub.

<output_dir>/
  model.safetensors   the weights, by timm's names
  config.json         the network and its preprocessing, as timm reads them
  README.md           the card, whose head the Hugging Face hub reads

safetensors and huggingface_hub are of the extra `weights`, and imported when
they are asked for.
"""

import dataclasses
import json
import os
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from official_coatnet import extras, files
from official_coatnet.export import class_names
from official_coatnet.modeling import network
from official_coatnet.pretrained import publishing_card, timm_settings
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

WEIGHTS_FILE = 'model.safetensors'
CONFIG_FILE = 'config.json'
CARD_FILE = 'README.md'
FILES = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)
_READ, _WRITE = 'reading the weights', 'writing the files'
# What `publish` does, and the seconds that each took for CoAtNet-0 on two
# cores.
STEPS: Mapping[str, float] = types.MappingProxyType({_READ: 2.5, _WRITE: 3.0})


def publish(
  model_dir: str,
  output_dir: str,
  *,
  weights: str | None = None,
  checkpoint_step: int | None = None,
  labels: str | None = None,
  licence: str | None = None,
  on_step: Callable[[str], None] = lambda step: None,
) -> list[str]:
  """Writes a folder that `timm.create_model('local-dir:...')` takes.

  Args:
    model_dir: Folder of a run, with at least one checkpoint.
    output_dir: The folder; created. Files of the same names are replaced.
    weights: 'ema' or 'raw'. None for what the run's configuration says, which
      is EMA where there is one unless it says otherwise.
    checkpoint_step: Step of the checkpoint. None for the best one where the run
      keeps it, else the newest.
    labels: Text file with one class name a line. None for the run's own.
    licence: Of the weights, by a name that the hub knows, such as 'apache-2.0'.
    on_step: Called with the name of each of the `STEPS` as it begins.

  Returns:
    The paths of the files.

  Raises:
    FileNotFoundError: If `model_dir` is not one of a run.
    ImportError: If safetensors is not installed.
    ValueError: If timm cannot build the network, there is no fitting
      checkpoint, or the names of the classes are not those of the run.
    guard.NonFiniteWeightsError: If weights are not finite; says which.
  """
  experiment = model_dir_lib.read_experiment(model_dir)
  # Before anything that takes long.
  timm_settings.model_args(experiment.model)
  safetensors = _library('safetensors.numpy')
  names = _read_names(experiment, model_dir, labels=labels)
  config = make_config(experiment, names=names)
  stored = checkpoints.StoredWeights(
    model_dir,
    weights=weights or experiment.run.weights,
    step=checkpoint_step,
  )
  on_step(_READ)
  stored.check_finite(what='Nothing is published of')
  state = timm_settings.to_state(
    _read_weights(experiment, stored), experiment.model
  )
  on_step(_WRITE)
  card = publishing_card.make_card(
    experiment, model_dir=model_dir, stored=stored, licence=licence
  )
  contents = {
    # What PyTorch's readers ask the file for.
    WEIGHTS_FILE: safetensors.save(state, metadata={'format': 'pt'}),
    CONFIG_FILE: (json.dumps(config, indent=2) + '\n').encode(),
    CARD_FILE: card.encode(),
  }
  for name, content in contents.items():
    files.write_bytes(os.path.join(output_dir, name), content)
  return [os.path.join(output_dir, name) for name in FILES]


def make_config(
  experiment: experiment_lib.Experiment, *, names: list[str] | None
) -> dict[str, Any]:
  """Returns what config.json holds.

  Args:
    experiment: Of the run.
    names: Of the classes, if they are known.

  Raises:
    ValueError: If timm cannot build the network.
  """
  model, data = experiment.model, experiment.eval_data
  args = timm_settings.model_args(model)
  height, width = model.height_width
  config = {
    'architecture': timm_settings.architecture(model),
    'num_classes': model.num_classes,
    'num_features': args['head_hidden_size'] or model.widths[-1],
    'global_pool': 'avg',
    'model_args': args,
    'pretrained_cfg': {
      'custom_load': False,
      'input_size': [3, height, width],
      'fixed_input_size': True,
      'interpolation': data.interpolation,
      'crop_pct': data.eval_crop_fraction if data.center_crop else 1.0,
      'crop_mode': 'center' if data.center_crop else 'squash',
      'mean': list(data.mean),
      'std': list(data.deviation),
      'num_classes': model.num_classes,
      'pool_size': [height // 32, width // 32],
      'first_conv': 'stem.conv1',
      'classifier': 'head.fc',
    },
  }
  if names is not None:
    config['label_names'] = names
  return config


def _read_names(
  experiment: experiment_lib.Experiment, model_dir: str, *, labels: str | None
) -> list[str] | None:
  """Returns the names of the classes, or None if there are none but numbers."""
  names, _ = class_names.read(experiment, model_dir, labels=labels)
  numbers = [str(i) for i in range(experiment.model.num_classes)]
  return None if names == numbers else names


def _read_weights(
  experiment: experiment_lib.Experiment, stored: checkpoints.StoredWeights
) -> dict[str, np.ndarray]:
  """Returns the weights by name; checks that they are all of the network."""
  # Variables are the same whatever the run computed in, and by.
  config = dataclasses.replace(
    experiment.model,
    dtype='float32',
    implementation='reference',
    rematerialize=(),
    sync_batch_norm=False,
  )
  model = network.classifier(config)
  checkpoints.load_weights(model, stored.prefix, weights=stored.group)
  return {
    name: variable.numpy()
    for name, variable in checkpoints.named_weights(model).items()
  }


def check_repository(repository: str) -> None:
  """Checks the name of a repository on the hub, and that there is a way to it.

  Raises:
    ValueError: If it is not 'owner/name'.
    ImportError: If huggingface_hub is not installed.
  """
  if not re.fullmatch(r'[\w.-]+/[\w.-]+', repository, re.ASCII):
    raise ValueError(
      f'The repository is {repository!r}; it must be owner/name, of letters, '
      "digits, '-', '_' and '.', such as 'my-name/coatnet_0_flowers'."
    )
  _library('huggingface_hub')


def push(output_dir: str, repository: str) -> str:
  """Uploads the files of `publish` to the Hugging Face hub.

  Args:
    output_dir: Their folder, on this machine.
    repository: 'owner/name'; created if need be.

  Returns:
    The address of the upload.

  Raises:
    ValueError: If the name is none, or the folder not on this machine.
    ImportError: If huggingface_hub is not installed.
    OSError: If nobody is logged in, the hub cannot be reached or it refuses.
  """
  check_repository(repository)
  if not files.is_local(output_dir):
    raise ValueError(
      f'The folder {output_dir!r} is not on this machine; uploads take one '
      'that is.'
    )
  hub = _library('huggingface_hub')
  stay = f'The files stay in {output_dir!r}.'
  if hub.get_token() is None:
    raise OSError(
      f'Nobody is logged in to upload to {repository!r}: run `hf auth login`, '
      f'or set HF_TOKEN to a token that may write. {stay}'
    )
  try:
    api = hub.HfApi()
    api.create_repo(repository, exist_ok=True)
    return api.upload_folder(
      repo_id=repository,
      folder_path=output_dir,
      allow_patterns=list(FILES),
      commit_message='Weights by official_coatnet, for timm',
    ).commit_url
  except hub.errors.HfHubHTTPError as error:
    reason = str(error).strip().splitlines()[0]
    raise OSError(
      f'The hub refused the upload to {repository!r}: {reason}. {stay}'
    ) from error
  # Errors of the HTTP library, which is another in each version of the hub's.
  except Exception as error:
    raise OSError(
      f'The upload to {repository!r} failed ({type(error).__name__}): the '
      'Hugging Face hub cannot be reached from here, or only in part; '
      f'--traceback says more. {stay}'
    ) from error


def _library(name: str) -> Any:
  """Imports a library of the extra `weights`."""
  return extras.load(name, extra='weights', purpose='To publish weights')
