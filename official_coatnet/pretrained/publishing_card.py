"""The README.md of weights for timm: a head for the hub, text for people."""

import json

from official_coatnet.export import card_sections
from official_coatnet.modeling import families
from official_coatnet.pretrained import timm_settings
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# What the hub calls a licence that nobody has named.
UNKNOWN_LICENCE = 'unknown'
_WEIGHTS = {
  'ema': 'moving averages of the training weights',
  'raw': 'as the last training step left them',
}


def make_card(
  experiment: experiment_lib.Experiment,
  *,
  model_dir: str,
  stored: checkpoints.StoredWeights,
  licence: str | None = None,
) -> str:
  """Writes the text.

  Args:
    experiment: What was run.
    model_dir: Where, with its metrics.
    stored: The weights.
    licence: Of the weights, by a name that the hub knows. None for that of
      weights that were imported and have not been trained since.

  Returns:
    Markdown, with YAML at its head.
  """
  step = model_dir_lib.checkpoint_step(stored.prefix)
  imported = model_dir_lib.read_origin(model_dir) if step == 0 else None
  if imported is not None:
    licence = licence or imported.licence
  parts = [
    _head(licence),
    _what(experiment, step=step, stored=stored, imported=imported),
    _use(experiment),
    _preprocessing(experiment),
    card_sections.metrics(
      experiment,
      card_sections.find_evaluation(model_dir, step=step),
      stored=stored,
      source="From the run's own evaluation, in TensorFlow, on "
      f'`{experiment.eval_data.split}`',
      weights='The weights here',
    ),
    _licence(licence),
  ]
  return '\n\n'.join(parts) + '\n'


def _head(licence: str | None) -> str:
  # Strings of JSON are strings of YAML, whatever is in them.
  return '\n'.join(
    (
      '---',
      f'license: {json.dumps(licence or UNKNOWN_LICENCE)}',
      'library_name: timm',
      'pipeline_tag: image-classification',
      'tags:',
      '- image-classification',
      '- timm',
      '- coatnet',
      '---',
    )
  )


def _what(experiment, *, step: int, stored, imported) -> str:
  model, data = experiment.model, experiment.train_data
  where = data.tfds_name or data.data_dir or f'{data.source} images'
  rows = {
    'Network': f'{model.name}, blocks {list(model.blocks)}, widths '
    f'{list(model.widths)}, heads of {model.head_size}',
    'Family': "the paper's"
    if model.family == families.PAPER
    else f'`{model.family}`',
    "timm's architecture": f'`{timm_settings.architecture(model)}`, with the '
    'settings of `config.json`',
    'Input': f'RGB images, {card_sections.image_size(experiment)} pixels',
    'Output': f'logits of {model.num_classes} classes',
    'Weights': _WEIGHTS[stored.group],
  }
  if imported is not None:
    rows['Weights'] = f'as published: {imported.source}'
    rows['From'] = imported.url or f'`{imported.file}`'
  else:
    rows['Trained on'] = (
      f'`{where}`, split `{data.split}`, {step:,} steps of {data.batch_size} '
      'images, in TensorFlow'
    )
    rows['Started from'] = _start(experiment)
  return (
    f'# {model.name} for timm\n\nAn image classifier of the CoAtNet family '
    '(Dai et al., 2021, arXiv:2106.04803), written by official_coatnet '
    f'(`tools/export_weights.py`).\n\n{card_sections.table(rows)}'
  )


def _start(experiment) -> str:
  path = experiment.run.init_checkpoint
  if path is None:
    return 'random weights'
  origin = card_sections.start_origin(experiment)
  return f'`{path}`' if origin is None else f'{origin.source} (`{path}`)'


def _use(experiment) -> str:
  answer = 'softmax(dim=-1)'
  if experiment.loss.name == 'sigmoid':
    answer = 'sigmoid()'
  return f"""## How to use it

    import PIL.Image
    import timm
    import torch

    # 'hf-hub:owner/name' where it has been uploaded.
    model = timm.create_model('local-dir:path/of/this/folder', pretrained=True)
    model.eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    image = transform(PIL.Image.open('photo.jpg').convert('RGB'))
    with torch.no_grad():
      probabilities = model(image[None]).{answer}

timm 1.0.31 gives the logits that the network has in TensorFlow on the same
pixels, to 1e-5 of the largest: so it was seen of networks of each kind."""


def _preprocessing(experiment) -> str:
  data = experiment.eval_data
  crop = card_sections.crop(data)
  text = (
    f'## Preprocessing\n\n{crop[0].upper()}{crop[1:]}, {data.interpolation}; '
    f'{card_sections.normalization(data)}.'
  )
  if data.interpolation == 'bilinear':
    text += (
      ' The bilinear resizing of the evaluation had no antialiasing, and that '
      'of timm has: the pixels of large images differ, and the metrics '
      'perhaps a little.'
    )
  return text


def _licence(licence: str | None) -> str:
  text = licence or (
    'The code of official_coatnet is under Apache 2.0. The weights come from '
    'the data above, whose terms may restrict them; nobody has named a licence.'
  )
  return f'## Licence\n\n{text}'
