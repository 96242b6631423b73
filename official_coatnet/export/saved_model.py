"""Exports the network of a model_dir, as a SavedModel for TF Serving.

What is written is listed in `versions`, what it computes in `serving`; other
formats are in `runtimes`.
"""

import contextlib
import dataclasses
import os
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import fingerprinting_utils

from official_coatnet import files
from official_coatnet.export import (
  class_names,
  folding,
  model_card,
  preprocessing,
  runtimes,
  serving,
  versions,
  warmup,
)
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import samples
from official_coatnet.modeling import complexity, implementations, network
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# Images that another runtime is compared with TensorFlow on.
_SAMPLES = 16
_READ, _BUILD = 'reading the weights', 'building the network'
_WRITE, _CARD = 'writing the graph', 'writing the card'
# What `export` does, by format, and the seconds that each took for CoAtNet-0 on
# two cores. All of it is longer for a network of more blocks.
STEPS: Mapping[str, Mapping[str, float]] = types.MappingProxyType(
  {
    'saved_model': {_READ: 0.1, _BUILD: 5.0, _WRITE: 5.0, _CARD: 4.0},
    'tflite': {_READ: 0.1, _BUILD: 5.0, _WRITE: 25.0, _CARD: 4.0},
    'onnx': {_READ: 0.1, _BUILD: 5.0, _WRITE: 35.0, _CARD: 4.0},
  }
)


def export(
  model_dir: str,
  export_dir: str,
  *,
  weights: str | None = None,
  checkpoint_step: int | None = None,
  labels: str | None = None,
  version: int | None = None,
  fold: bool = True,
  options: ExportOptions | None = None,
  licence: str | None = None,
  file_format: str = 'saved_model',
  quantize: str = 'none',
  encoded: Sequence[bytes] | None = None,
  on_step: Callable[[str], None] = lambda step: None,
) -> str:
  """Writes `export_dir/<version>/`.

  A SavedModel is what TF Serving loads as it is; its signatures are those of
  `serving`.

  Args:
    model_dir: Folder of a run, with at least one checkpoint.
    export_dir: Folder of the versions; created.
    weights: 'ema' or 'raw'. None for what the run's configuration says, which
      is EMA where there is one unless it says otherwise.
    checkpoint_step: Step of the checkpoint. None for the best one where the run
      keeps it, else the newest.
    labels: Text file with one class name a line. None for the names that the
      run has kept; if it has none they are the class ids in decimal.
    version: Number of the export. None for the next free one.
    fold: Whether convolutions absorb the BatchNorms, where that pays
      (`folding.pays`).
    options: How it answers.
    licence: Of the model, for its card.
    file_format: One of `versions.FORMATS`.
    quantize: One of `runtimes.QUANTIZATIONS`, for TFLite.
    encoded: Images to compare another runtime with TensorFlow on. None for
      samples of every format.
    on_step: Called with the name of each of the `STEPS` as it begins.

  Returns:
    The path of the export.

  Raises:
    FileNotFoundError: If `model_dir` is not one of a run.
    ValueError: If there is no (fitting) checkpoint, EMA is asked for where
      there is none, labels and classes differ in number, labels.txt of the run
      is not what it was trained on, the version is taken or `export_dir` cannot
      be written.
    ImportError: If a library is missing that the format takes.
    guard.NonFiniteWeightsError: If weights are not finite.
  """
  version = versions.choose_version(
    export_dir, version=version, file_format=file_format
  )
  options = options or ExportOptions()
  experiment = model_dir_lib.read_experiment(model_dir)
  fold = fold and folding.pays(experiment.model)
  names, names_from = class_names.read(experiment, model_dir, labels=labels)
  on_step(_READ)
  # Opened before the network is built, so that an error comes at once.
  stored = checkpoints.StoredWeights(
    model_dir,
    weights=weights or experiment.run.weights,
    step=checkpoint_step,
  )
  runtimes.check(stored.shapes, file_format=file_format, quantize=quantize)
  if file_format == 'saved_model':
    warmup.check_library()
  stored.check_finite(what='No export is made of')
  provenance = versions.Provenance(
    model_dir=_absolute(model_dir),
    checkpoint=os.path.basename(stored.prefix),
    weights=stored.group,
    folded=fold,
    options=options,
    own_labels=labels is None,
    format=file_format,
    quantize=quantize,
  )
  on_step(_BUILD)
  with (
    versions.new_version(export_dir, version=version) as path,
    _loaded_model(
      experiment, stored, fold=fold, file_format=file_format
    ) as model,
    versions.writing(export_dir),
  ):
    on_step(_WRITE)
    if file_format == 'saved_model':
      write_saved_model(model, experiment, path, names=names, options=options)
    else:
      pixels = _sample_pixels(experiment, encoded)
      difference = runtimes.write(
        model,
        experiment,
        path,
        pixels=pixels,
        file_format=file_format,
        quantize=quantize,
      )
      provenance = dataclasses.replace(
        provenance, difference=dataclasses.asdict(difference)
      )
      model_dir_lib.write_labels(path, names)
    on_step(_CARD)
    _write_papers(
      experiment,
      provenance,
      path,
      stored=stored,
      names_from=names_from,
      licence=licence,
    )
  return os.path.join(export_dir, str(version))


def write_saved_model(
  model: tf.keras.Model,
  experiment: experiment_lib.Experiment,
  path: str,
  *,
  names: Sequence[str],
  options: ExportOptions,
):
  """Writes graph, weights, class names and warm-up requests into a folder.

  Args:
    model: As `serving.make_module` takes it.
    experiment: What it was trained by.
    path: The folder.
    names: Of the classes.
    options: How it answers.
  """
  with tempfile.TemporaryDirectory() as scratch:
    # It becomes `versions.LABELS_FILE`, an asset of the same name.
    labels_file = model_dir_lib.write_labels(scratch, names)
    module = serving.make_module(
      model, experiment, labels_file=labels_file, options=options
    )
    tf.saved_model.save(module, path, signatures=serving.signatures(module))
  _name_classify_method(path)
  height, width = experiment.model.height_width
  warmup.write_requests(path, options, height=height, width=width)


def _name_classify_method(path: str):
  """Says of `classify` that it is for the Classify API.

  `tf.saved_model.save` calls all signatures predictions, which a server with
  --enable_signature_method_name_check does not let that API call.
  """
  updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
  updater.replace_method_name(
    'classify', tf.saved_model.CLASSIFY_METHOD_NAME, tags='serve'
  )
  updater.save()
  # It has a checksum of the graph file. TensorFlow makes none public.
  fingerprinting_utils.write_fingerprint(path)


def load_model(
  experiment: experiment_lib.Experiment,
  path: str,
  *,
  weights: str | None = None,
  fold: bool = True,
  file_format: str = 'saved_model',
) -> tf.keras.Model:
  """Builds the network of a run for inference, in float32 on the CPU.

  Args:
    experiment: Of the run.
    path: Its folder, or one of its checkpoints.
    weights: 'ema', 'raw', or None for EMA where there is one.
    fold: As in `export`.
    file_format: What it is for, as in `export`.

  Raises:
    ValueError: If there is no such checkpoint, or it does not fit.
  """
  config = dataclasses.replace(
    experiment.model,
    # Variables are float32 whatever the run computed in.
    dtype='float32',
    # There are no replicas here to take statistics over.
    sync_batch_norm=False,
    implementation=_exportable(experiment.model.implementation),
  )
  with tf.device('CPU:0'):
    model = network.classifier(config)
    checkpoints.load_weights(model, path, weights=weights)
    if fold:
      trained = model
      # Each runtime is fast by other operations.
      model = folding.fold_classifier(
        trained,
        config,
        implementation=runtimes.TFLITE_IMPLEMENTATION
        if file_format == 'tflite'
        else 'onednn',
      )
      _free(trained)
    network.cache_relative_bias(model)
  return model


@contextlib.contextmanager
def _loaded_model(
  experiment: experiment_lib.Experiment,
  stored: checkpoints.StoredWeights,
  *,
  fold: bool,
  file_format: str,
) -> Iterator[tf.keras.Model]:
  model = load_model(
    experiment,
    stored.prefix,
    weights=stored.group,
    fold=fold,
    file_format=file_format,
  )
  try:
    yield model
  finally:
    _free(model)


def _free(model: tf.keras.Model):
  """Gives a model's memory back to TensorFlow; its weights are gone after it.

  To drop the model is not enough: Keras and TensorFlow (for each function with
  a custom gradient in it, as swish has one) keep what refers to its variables
  until the process ends; 2.9 GB for CoAtNet-5.
  """
  for variable in model.weights:
    tf.raw_ops.AssignVariableOp(
      resource=variable.handle, value=tf.zeros([], variable.dtype)
    )


def _exportable(implementation: str | None) -> str | None:
  """Returns `implementation`, or the reference where it is not for exports."""
  if implementation is None or implementations.get(implementation).for_export:
    return implementation
  return 'reference'


def _sample_pixels(
  experiment: experiment_lib.Experiment, encoded: Sequence[bytes] | None
) -> np.ndarray:
  """Returns images as an evaluation sees them: those given, or samples."""
  if encoded is None:
    side = max(experiment.model.height_width)
    encoded = samples.make_images(_SAMPLES, side=side + side // 4)
  pixels, _ = preprocessing.decode_batch(tf.constant(encoded), experiment)
  return pixels.numpy()


def _write_papers(
  experiment: experiment_lib.Experiment,
  provenance: versions.Provenance,
  path: str,
  *,
  stored: checkpoints.StoredWeights,
  names_from: str,
  licence: str | None,
):
  """Writes what people read: model card, configuration, where it is from."""
  card = model_card.make_card(
    experiment,
    model_dir=provenance.model_dir,
    stored=stored,
    # Of the network as it is trained.
    count=complexity.count(experiment.model)[-1],
    options=provenance.options,
    folded=provenance.folded,
    names_from=names_from,
    licence=licence,
    runtime=None if provenance.format == 'saved_model' else provenance,
  )
  files.write_text(os.path.join(path, versions.CARD_FILE), card)
  versions.write_provenance(provenance, path)
  model_dir_lib.write_experiment(path, experiment)
  model_dir_lib.copy_config(provenance.model_dir, path)
  data = model_dir_lib.read_data(provenance.model_dir)
  if data is not None:
    versions.write_data(path, data)


def _absolute(path: str) -> str:
  return path if '://' in path else os.path.abspath(path)
