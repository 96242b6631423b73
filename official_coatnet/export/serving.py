"""What a server computes: the signatures of an export, in one graph.

| signature | input | outputs |
|---|---|---|
| `serving_default` | `image_bytes`, string [batch]: encoded images | all |
| `serving_image_tensor` | `image`, uint8 [batch, height, width, 3] | all |
| `serving_tf_example` | `examples`, string [batch]: tf.train.Examples | all |
| `classify` | `inputs`, string [batch]: tf.train.Examples | classes, scores |
| `features` | `image_bytes`, string [batch] | features, and stages |

All outputs are those of `classify` below, and `ok` where bad images are
answered. The graph holds TensorFlow operations only (nothing of Python, which a
C++ server could not run), its outputs are float32, strings and flags (TF
Serving cannot write a bfloat16 as JSON), and no name ends in `_bytes` (TF
Serving would answer it in base64). The batch size is free, and may be 0.
"""

from collections.abc import Callable

import tensorflow as tf

from official_coatnet.export import preprocessing
from official_coatnet.export.options import ExportOptions
from official_coatnet.modeling import complexity
from official_coatnet.training import experiment as experiment_lib, objective

# Name of the only input of each signature. `classify` is called so by the
# Classify API of TF Serving.
INPUTS = {
  'serving_default': 'image_bytes',
  'serving_image_tensor': 'image',
  'serving_tf_example': 'examples',
  'classify': 'inputs',
  'features': 'image_bytes',
}
# Those that take tf.train.Examples.
TAKE_EXAMPLES = ('serving_tf_example', 'classify')

Outputs = dict[str, tf.Tensor]


def classify(
  logits: tf.Tensor,
  *,
  loss: str,
  names: tf.lookup.StaticHashTable,
  top_k: int = 5,
  threshold: float = 0.5,
) -> Outputs:
  """Turns logits into what a client wants to know.

  Args:
    logits: [batch, classes].
    loss: 'softmax', or 'sigmoid' for classes that do not exclude each other.
    names: From int64 class id to string.
    top_k: Classes to name, at most all.
    threshold: With 'sigmoid', the probability from which a class is a label.

  Returns:
    `logits` and `probabilities`, float32 [batch, classes]; `classes`, string
    [batch, k], the names of the k likeliest, best first; `scores`, float32
    [batch, k], their probabilities. With 'sigmoid' also `labels`, string
    [batch, m], the names of all classes from the threshold on, best first, and
    `label_scores`, float32 [batch, m]; m is the largest number of them in the
    batch, and 1 at least, and shorter rows end in '' and 0.
  """
  logits = tf.cast(logits, tf.float32)
  is_sigmoid = loss == 'sigmoid'
  probabilities = tf.sigmoid(logits) if is_sigmoid else tf.nn.softmax(logits)

  def best(k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # Of logits: where probabilities round to equal values, these still differ.
    ids = tf.math.top_k(logits, k).indices
    found = tf.gather(probabilities, ids, batch_dims=1)
    return names.lookup(tf.cast(ids, tf.int64)), found

  classes, scores = best(min(top_k, logits.shape[-1]))
  outputs = {
    'logits': logits,
    'probabilities': probabilities,
    'classes': classes,
    'scores': scores,
  }
  if is_sigmoid:
    counts = tf.math.count_nonzero(probabilities >= threshold, 1, tf.int32)
    found, found_scores = best(tf.maximum(tf.reduce_max(counts), 1))
    is_label = found_scores >= threshold
    outputs['labels'] = tf.where(is_label, found, '')
    outputs['label_scores'] = tf.where(is_label, found_scores, 0.0)
  return outputs


def make_module(
  model: tf.keras.Model,
  experiment: experiment_lib.Experiment,
  *,
  labels_file: str,
  options: ExportOptions | None = None,
) -> tf.Module:
  """Puts together what is saved: variables, class names and signatures.

  The module holds the network's variables under their names, and not the
  network: Keras would save each layer's functions as well, in training and in
  inference, which no server needs.

  Args:
    model: A functional model from images, float32 [batch, height, width, 3],
      normalised, to logits, by a last layer called 'logits'. Its layers are
      called as those of `network.classifier`.
    experiment: What the model was trained by.
    labels_file: Text file with one class name a line; it becomes an asset.
    options: How it answers.

  Returns:
    A module to save, with its `signatures`.
  """
  options = options or ExportOptions()
  module = tf.Module(name='coatnet')
  # All of them, the cached relative biases too.
  module.weights = {v.name.removesuffix(':0'): v for v in model.weights}
  module.labels = tf.saved_model.Asset(labels_file)
  module.names = tf.lookup.StaticHashTable(
    tf.lookup.TextFileInitializer(
      module.labels,
      key_dtype=tf.int64,
      key_index=tf.lookup.TextFileIndex.LINE_NUMBER,
      value_dtype=tf.string,
      value_index=tf.lookup.TextFileIndex.WHOLE_LINE,
    ),
    default_value='',
  )
  module.serve = _Signatures(
    model, experiment, names=module.names, options=options
  ).functions()
  return module


def signatures(module: tf.Module) -> dict[str, Callable[..., Outputs]]:
  """Returns the signatures of a module of `make_module` by name."""
  return dict(module.serve)


def representations(model: tf.keras.Model) -> tf.keras.Model:
  """Lets a classifier return what lies before its logits, too.

  Returns:
    A model with the outputs 'logits', 'features' (what the last layer takes)
    and 's0' to 's4' (of each stage, as far as there are stages).
  """
  outputs = {
    'logits': model.output,
    'features': model.get_layer('logits').input,
  }
  for layer in model.layers:
    stage = complexity.stage_of(layer.name)
    if stage != 'head':
      outputs[stage] = layer.output  # The last one of a stage stays.
  return tf.keras.Model(model.input, outputs)


def _any_batch(
  function: Callable[[tf.Tensor], Outputs],
) -> Callable[[tf.Tensor], Outputs]:
  """Makes a function of batches take an empty one, too.

  The CPU's convolutions fail without images, so they are given one.
  """

  def wrapped(pixels: tf.Tensor) -> Outputs:
    count = tf.shape(pixels)[0]
    one = tf.zeros([1, *pixels.shape[1:]], pixels.dtype)
    filled = tf.cond(count > 0, lambda: pixels, lambda: one)
    outputs = function(tf.ensure_shape(filled, pixels.shape))
    return {name: value[:count] for name, value in outputs.items()}

  return wrapped


def _blank(outputs: Outputs, ok: tf.Tensor) -> Outputs:
  """Empties the rows of images that were not decoded.

  Not by a product: 0 times infinity is no number.
  """
  blanked = {}
  for name, value in outputs.items():
    # [batch] -> [batch, 1, ...]
    kept = tf.reshape(ok, [-1] + [1] * (value.shape.rank - 1))
    blanked[name] = tf.where(kept, value, tf.zeros([], value.dtype))
  return blanked


class _Signatures:
  """The functions of an export, which share one function of the network."""

  def __init__(self, model, experiment, *, names, options):
    self._experiment = experiment
    self._names = names
    self._options = options
    height, width = experiment.model.height_width
    self._pixels = tf.TensorSpec([None, height, width, 3], tf.uint8)
    forward = representations(model)

    # Functions that the signatures call, so that their graphs are made and
    # saved once. What they run branches by tf.cond alone: without AutoGraph
    # they are made in half the time.
    @tf.function(input_signature=[self._pixels], autograph=False)
    def network(pixels):
      images = objective.normalize(experiment, pixels)
      return forward(images, training=False)

    @tf.function(
      input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    def decode(image_bytes):
      return preprocessing.decode_batch(
        image_bytes,
        experiment,
        max_pixels=options.max_pixels,
        answer_bad_images=options.answer_bad_images,
      )

    self._network = _any_batch(network)
    self._decode = decode

  def functions(self) -> dict[str, Callable[..., Outputs]]:
    """Returns a function with its input signature by name."""
    bodies = {
      'serving_default': lambda x: self._answer(*self._decode(x)),
      'serving_image_tensor': self._answer_pixels,
      'serving_tf_example': lambda x: self._answer(*self._parse(x)),
      'classify': self._classify,
      'features': lambda x: self._features(*self._decode(x)),
    }
    return {name: self._function(name, body) for name, body in bodies.items()}

  def _function(self, name, body):
    if name == 'serving_image_tensor':
      spec = tf.TensorSpec(self._pixels.shape, tf.uint8, name=INPUTS[name])
    else:
      spec = tf.TensorSpec([None], tf.string, name=INPUTS[name])

    def serve(inputs):
      return body(inputs)

    # Clients see it in errors.
    serve.__name__ = name
    return tf.function(serve, input_signature=[spec], autograph=False)

  def _parse(self, examples):
    return self._decode(preprocessing.parse_examples(examples))

  def _answer(self, pixels, ok):
    outputs = classify(
      self._network(pixels)['logits'],
      loss=self._experiment.loss.name,
      names=self._names,
      top_k=self._options.top_k,
      threshold=self._options.threshold,
    )
    return self._flag(outputs, ok)

  def _answer_pixels(self, pixels):
    return self._answer(pixels, tf.ones(tf.shape(pixels)[:1], tf.bool))

  def _classify(self, examples):
    outputs = self._answer(*self._parse(examples))
    # Exactly these two, or the Classify API refuses the signature.
    return {name: outputs[name] for name in ('classes', 'scores')}

  def _features(self, pixels, ok):
    outputs = self._network(pixels)
    del outputs['logits']
    if not self._options.stage_maps:
      outputs = {'features': outputs['features']}
    outputs = {n: tf.cast(v, tf.float32) for n, v in outputs.items()}
    return self._flag(outputs, ok)

  def _flag(self, outputs, ok):
    if not self._options.answer_bad_images:
      return outputs
    return {**_blank(outputs, ok), 'ok': ok}
