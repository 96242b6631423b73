"""The README.md of an export: what the model is, and how to call it."""

from official_coatnet.export import (
  card_sections,
  folding,
  runtime_card,
  serving,
  versions,
)
from official_coatnet.export.options import ExportOptions
from official_coatnet.modeling import complexity, config as config_lib
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

_KINDS = {
  'saved_model': 'a SavedModel for TensorFlow Serving',
  'tflite': 'a file for TFLite',
  'onnx': 'a file for ONNX runtimes',
}
_SOURCES = {
  'tfds': 'TensorFlow Datasets',
  'tfrecord': 'TFRecords',
  'synthetic': 'synthetic images (a trial, which has learnt nothing)',
}
DEFAULT_LICENCE = (
  'The code of official_coatnet, and the graph in this folder, are under '
  'Apache 2.0. The weights come from the data above, whose terms may restrict '
  'them.'
)


def make_card(
  experiment: experiment_lib.Experiment,
  *,
  model_dir: str,
  stored: checkpoints.StoredWeights,
  count: complexity.Count,
  options: ExportOptions,
  folded: bool,
  names_from: str | None = None,
  licence: str | None = None,
  runtime: versions.Provenance | None = None,
) -> str:
  """Writes the text.

  Args:
    experiment: What was run.
    model_dir: Where, with its metrics.
    stored: The weights that are exported.
    count: Parameters and multiply-adds of the network.
    options: Of the export.
    folded: Whether norms are folded into convolutions.
    names_from: Whose names the classes have; None to say nothing of it.
    licence: Of the model. None for what can be said of any.
    runtime: Of an export for another runtime. None for a SavedModel.

  Returns:
    Markdown.
  """
  step = model_dir_lib.checkpoint_step(stored.prefix)
  origin = model_dir_lib.read_origin(model_dir)
  # Of a run that has trained since, its own recipe is what counts.
  imported = origin if step == 0 else None
  licence = licence or _licence(
    origin or card_sections.start_origin(experiment)
  )
  usage = [_signatures(experiment, options), _calls()]
  if runtime is not None:
    usage = runtime_card.sections(experiment, runtime)
  kind = _KINDS[runtime.format if runtime else 'saved_model']
  parts = [
    _what(
      experiment,
      count,
      stored=stored,
      folded=folded,
      kind=kind,
      imported=bool(imported),
    ),
    _data(
      experiment,
      names_from=names_from,
      in_graph=runtime is None,
      imported=bool(imported),
    ),
    _imported(imported) if imported else _recipe(experiment, step=step),
    card_sections.metrics(
      experiment,
      card_sections.find_evaluation(model_dir, step=step),
      stored=stored,
    ),
    f'## Licence\n\n{licence}',
    *usage,
  ]
  return '\n\n'.join(parts) + '\n'


def make_run_card(
  experiment: experiment_lib.Experiment,
  *,
  model_dir: str,
  stored: checkpoints.StoredWeights,
  count: complexity.Count,
) -> str:
  """Writes the text for a run, of which there need be no export.

  Args:
    experiment: What was run.
    model_dir: Where, with its metrics.
    stored: The weights that it is about.
    count: Parameters and multiply-adds of the network.

  Returns:
    Markdown, without a title.
  """
  step = model_dir_lib.checkpoint_step(stored.prefix)
  origin = model_dir_lib.read_origin(model_dir)
  imported = origin if step == 0 else None
  rows = _network(experiment, count, stored=stored, imported=bool(imported))
  parts = [
    f'An image classifier of the CoAtNet family (Dai et al., 2021, '
    f'arXiv:2106.04803).\n\n{card_sections.table(rows)}',
    _data(experiment, names_from=None, in_graph=None, imported=bool(imported)),
    _imported(imported) if imported else _recipe(experiment, step=step),
    card_sections.metrics(
      experiment,
      card_sections.find_evaluation(model_dir, step=step),
      stored=stored,
      weights='The weights',
    ),
  ]
  return '\n\n'.join(parts) + '\n'


def _licence(origin: model_dir_lib.Origin | None) -> str:
  if origin is None:
    return DEFAULT_LICENCE
  terms = f' ({origin.licence})' if origin.licence else ''
  return (
    'The code of official_coatnet, and the graph in this folder, are under '
    f'Apache 2.0. The weights come from {origin.source}{terms}, and from data '
    'whose terms may restrict them.'
  )


def _imported(origin: model_dir_lib.Origin) -> str:
  rows = {
    'Source': origin.source,
    'File': f'`{origin.file}`, SHA-256 `{origin.sha256}`',
  }
  if origin.url:
    rows['From'] = origin.url
  if origin.top1 is not None:
    rows['Published top-1'] = (
      f'{origin.top1:g} % on the validation images of ImageNet-1K, by those '
      'who published it'
    )
  return (
    '## Weights\n\nThey were imported, and not trained by this package.\n\n'
    f'{card_sections.table(rows)}'
  )


def _norms(model: config_lib.ModelConfig, *, folded: bool) -> str:
  if folded:
    return 'folded into convolutions'
  if not folding.pays(model):
    return 'as trained: to fold them gains less than 5 % in this network'
  return 'as trained'


def _network(experiment, count, *, stored, imported) -> dict[str, str]:
  model = experiment.model
  weights = {
    'ema': 'moving averages of the training weights',
    'raw': 'as they were imported'
    if imported
    else 'as the last training step left them',
  }
  return {
    'Network': f'{model.name}, {model.layout}, blocks {list(model.blocks)}, '
    f'widths {list(model.widths)}',
    'Input': f'RGB images, {card_sections.image_size(experiment)} pixels',
    'Output': f'{model.num_classes} classes, {experiment.loss.name}',
    'Parameters': f'{count.params:,}',
    'Multiply-adds an image': f'{count.multiply_adds:,}',
    'Weights': weights[stored.group],
  }


def _what(experiment, count, *, stored, folded, kind, imported) -> str:
  rows = {
    **_network(experiment, count, stored=stored, imported=imported),
    'BatchNorm': _norms(experiment.model, folded=folded),
    'Relative biases': 'looked up once, and stored',
  }
  return (
    f'# {experiment.model.name}\n\nAn image classifier of the CoAtNet family '
    '(Dai et al., 2021, arXiv:2106.04803), exported by official_coatnet as '
    f'{kind}.'
    f'\n\n{card_sections.table(rows)}'
  )


def _data(
  experiment, *, names_from, in_graph: bool | None, imported: bool
) -> str:
  rows = {}
  for title, data in (
    ('Training', experiment.train_data),
    ('Evaluation', experiment.eval_data),
  ):
    if imported:
      break  # Of others, who say themselves what they were.
    where = data.tfds_name or data.data_dir or ''
    count = (
      '' if data.num_examples is None else f', {data.num_examples:,} images'
    )
    source = _SOURCES[data.source] + (f' `{where}`' if where else '')
    rows[title] = f'{source}, split `{data.split}`{count}'
  data = experiment.eval_data
  size = card_sections.image_size(experiment)
  inside = {
    True: '; all of it is in the graph',
    False: '; the last two are in the graph',
    None: '',
  }
  rows['Preprocessing'] = (
    f'{card_sections.crop(data)}, {data.interpolation} to {size}; '
    f'{card_sections.normalization(data)}{inside[in_graph]}'
  )
  if names_from is not None:
    rows['Class names'] = names_from
  return f'## Data\n\n{card_sections.table(rows)}'


def _recipe(experiment, *, step: int) -> str:
  data, optimizer = experiment.train_data, experiment.optimizer
  rows = {
    'Steps': f'{step:,}, batch {data.batch_size}',
    'Optimizer': f'AdamW, peak learning rate {optimizer.peak_learning_rate:g}, '
    f'{optimizer.decay} decay, weight decay {optimizer.weight_decay:g}',
    'Averaging': 'none'
    if optimizer.ema_decay is None
    else f'decay {optimizer.ema_decay:g}',
    'Loss': f'{experiment.loss.name}, label smoothing '
    f'{experiment.loss.label_smoothing:g}',
    'RandAugment': list(data.randaugment) if data.randaugment else 'none',
    'Mixup': data.mixup_alpha or 'none',
    'Stochastic depth': experiment.model.stochastic_depth,
    'Started from': _started_from(experiment),
  }
  return (
    f'## Recipe\n\n{card_sections.table(rows)}\n\nIn full: '
    '`experiment.json`, and `config.gin` if the run had gin files.'
  )


def _started_from(experiment) -> str:
  path = experiment.run.init_checkpoint
  if path is None:
    return 'random weights'
  origin = card_sections.start_origin(experiment)
  return path if origin is None else f'{origin.source} ({path})'


def _signatures(experiment, options) -> str:
  size = card_sections.image_size(experiment).replace(' x ', ', ')
  common = '`logits`, `probabilities`, `classes`, `scores`'
  if experiment.loss.name == 'sigmoid':
    common += (
      f', `labels` (from probability {options.threshold:g} on; rows shorter '
      'than the longest of the batch end in empty names), `label_scores`'
    )
  stages = ', a map of each stage (`s0`, ...)' if options.stage_maps else ''
  flag = ', `ok`' if options.answer_bad_images else ''
  takes = {
    'serving_default': 'encoded images',
    'serving_image_tensor': f'uint8 [batch, {size}, 3]',
    'serving_tf_example': 'tf.train.Examples with `image/encoded`',
    'classify': 'tf.train.Examples with `image/encoded`',
    'features': 'encoded images',
  }
  answers = {name: common + flag for name in takes}
  answers['classify'] = '`classes`, `scores`'
  answers['features'] = f'`features`{stages}{flag}'
  rows = [
    f'| `{name}` | `{serving.INPUTS[name]}`: {takes[name]} | {answers[name]} |'
    for name in takes
  ]
  bad = (
    'An image that does not decode is answered by zeros and `ok` false; in '
    '`classify`, by empty names.'
    if options.answer_bad_images
    else 'An image that does not decode fails the request that it is in.'
  )
  sizes = ', '.join(map(str, options.batch_sizes))
  lines = ['| Signature | Input | Outputs |', '|---|---|---|', *rows]
  return (
    '## Signatures\n\n'
    + '\n'.join(lines)
    + '\n\nEncoded images are JPEG, PNG, '
    'BMP or GIF (its first frame), of any sizes in one request, of at most '
    f'{options.max_pixels:,} pixels (of a GIF, over all frames; of a JPEG, '
    f'once for every 20 scans). {bad} Batches of any size are answered; those '
    f'of {sizes} are warmed up.'
  )


def _calls() -> str:
  return """## Calling it

    docker run --rm -p 8501:8501 -p 8500:8500 -e MODEL_NAME=coatnet \\
      -v "$EXPORTS:/models/coatnet" tensorflow/serving:2.15.1

where `$EXPORTS` is the absolute path of the folder that holds this one. Then

    { printf '{"instances": [{"b64": "'; base64 -w0 photo.jpg
      printf '"}]}'; } |
      curl -d @- http://localhost:8501/v1/models/coatnet:predict

answers with `predictions`, one object an image. The same from Python:

    import base64, json, urllib.request

    with open('photo.jpg', 'rb') as f:
      image = {'b64': base64.b64encode(f.read()).decode()}
    reply = urllib.request.urlopen(
      'http://localhost:8501/v1/models/coatnet:predict',
      data=json.dumps({'instances': [image]}).encode(),
    )
    prediction = json.load(reply)['predictions'][0]
    print(prediction['classes'][0], prediction['scores'][0])

and without a server:

    import tensorflow as tf

    model = tf.saved_model.load('path/of/this/folder')
    encoded = tf.io.read_file('photo.jpg')
    outputs = model.signatures['serving_default'](image_bytes=encoded[None])
    print(outputs['classes'][0], outputs['scores'][0])"""
