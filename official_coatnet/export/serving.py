"""What a server computes: from encoded images to named classes, in one graph.

The graph holds TensorFlow operations only (nothing of Python, which a C++
server could not run), its outputs are float32 and strings (TF Serving cannot
write a bfloat16 as JSON), and the batch size is free.
"""

from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import device, images
from official_coatnet.training import experiment as experiment_lib

# Classes in `classes` and `scores`.
TOP_K = 5

Outputs = dict[str, tf.Tensor]


def decode_batch(
  image_bytes: tf.Tensor, experiment: experiment_lib.Experiment
) -> tf.Tensor:
  """Decodes and resizes encoded images exactly as the evaluation does.

  Args:
    image_bytes: String [batch]; JPEG, PNG, BMP or GIF, of any sizes.
    experiment: Its `eval_data` says how.

  Returns:
    uint8 [batch, height, width, 3].
  """
  data = experiment.eval_data
  height, width = data.height_and_width

  def decode(encoded):
    return images.decode_for_eval(
      encoded,
      image_size=data.image_size,
      center_crop=data.center_crop,
      crop_fraction=data.eval_crop_fraction,
    )

  # Resized within the map: images of different sizes cannot be stacked before.
  # On the CPU, where all decoders are; a server may have placed it elsewhere.
  with tf.device('CPU:0'):
    return tf.map_fn(
      decode,
      image_bytes,
      fn_output_signature=tf.TensorSpec([height, width, 3], tf.uint8),
    )


def classify(
  logits: tf.Tensor, *, loss: str, names: tf.lookup.StaticHashTable
) -> Outputs:
  """Turns logits into what a client wants to know.

  Args:
    logits: [batch, classes].
    loss: 'softmax', or 'sigmoid' for classes that do not exclude each other.
    names: From int64 class id to string.

  Returns:
    `logits` and `probabilities`, float32 [batch, classes]; `classes`, string
    [batch, k], the names of the k likeliest, best first; `scores`, float32
    [batch, k], their probabilities. k is `TOP_K`, or all classes if fewer.
  """
  logits = tf.cast(logits, tf.float32)
  if loss == 'sigmoid':
    probabilities = tf.sigmoid(logits)
  else:
    probabilities = tf.nn.softmax(logits)
  # Of logits: where probabilities round to equal values, these still differ.
  ids = tf.math.top_k(logits, min(TOP_K, logits.shape[-1])).indices
  return {
    'logits': logits,
    'probabilities': probabilities,
    'classes': names.lookup(tf.cast(ids, tf.int64)),
    'scores': tf.gather(probabilities, ids, batch_dims=1),
  }


def make_module(
  model: tf.keras.Model,
  experiment: experiment_lib.Experiment,
  *,
  labels_file: str,
) -> tf.Module:
  """Puts together what is saved: variables, class names and signatures.

  The module holds the network's variables under their names, and not the
  network: Keras would save each layer's functions as well, in training and in
  inference, which no server needs.

  Args:
    model: From images, float32 [batch, height, width, 3], to logits.
    experiment: What the model was trained by.
    labels_file: Text file with one class name a line; it becomes an asset.

  Returns:
    A module whose `signatures` are to be saved.
  """
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
  module.serve_image_bytes = _image_bytes_function(
    model, experiment, names=module.names
  )
  return module


def signatures(module: tf.Module) -> dict[str, Callable[..., Outputs]]:
  """Returns the signatures of a module of `make_module` by name."""
  return {
    tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: module.serve_image_bytes
  }


def _image_bytes_function(model, experiment, *, names):
  @tf.function(
    input_signature=[tf.TensorSpec([None], tf.string, name='image_bytes')]
  )
  def serve_image_bytes(image_bytes):
    pixels = decode_batch(image_bytes, experiment)
    logits = model(device.normalize(pixels), training=False)
    return classify(logits, loss=experiment.loss.name, names=names)

  return serve_image_bytes
