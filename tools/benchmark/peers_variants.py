"""What tools/benchmark/peers.py compares: one network in a process of its own.

    python tools/benchmark/peers_variants.py '{"variant": "ours", ...}'

builds the network, and then does as the lines of its input say: each is a JSON
object with `work`, 'inference' or 'training', and `repeats`, and is answered by
one with `cpu_seconds` and `seconds`. TensorFlow and PyTorch so never share a
process, and each variant has the environment that it needs.

All take the same batch of float images and integer labels, on as many threads.
Training is forward, softmax cross entropy, backward and AdamW, without clipping
and averages. Inference ends in logits.
"""

import tools.prologue

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np

_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 0.05
_IDLE_SECONDS = 0.02
_IDLE_SHARE = 0.1

# Name of a kind of work to what does it once.
Works = dict[str, Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a process builds.

  Attributes:
    variant: One of `VARIANTS`.
    model: Of 'ours', the row of the size table; of 'timm', the name there.
    image_size: In pixels.
    batch_size: Images of a step and of a request.
    threads: Threads that share an operation.
    works: Any of 'inference' and 'training'.
    implementation: Of 'ours', `ModelConfig.implementation` in training; with
      'reference' inference is that of the network as trained, otherwise that
      of the exported one. Of 'timm', 'channels_last' or anything else.
  """

  variant: str
  model: str
  image_size: int
  batch_size: int
  threads: int
  works: tuple[str, ...] = ('inference', 'training')
  implementation: str = 'reference'

  def examples(self) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 [batch, height, width, 3], and labels, int64 [batch]."""
    rng = np.random.default_rng(0)
    shape = (self.batch_size, self.image_size, self.image_size, 3)
    images = rng.standard_normal(shape, dtype=np.float32)
    return images, rng.integers(0, 1000, self.batch_size)


def make_ours(settings: Settings) -> Works:
  """The network of this package: as exported, and as trained."""
  tf = _tensorflow(settings)
  from official_coatnet.export import folding
  from official_coatnet.modeling import config as model_config, network
  from official_coatnet.training import objective, optimizer as optimizer_lib

  config = model_config.ModelConfig(
    settings.model,
    image_size=settings.image_size,
    implementation=settings.implementation,
  )
  model = network.classifier(config)
  images, labels = (tf.constant(each) for each in settings.examples())
  works = {}
  if 'inference' in settings.works:
    served = model
    if settings.implementation != 'reference':
      served = folding.fold_classifier(model, config)
      network.cache_relative_bias(served)
    works['inference'] = _keras_inference(tf, served, images)
  if 'training' in settings.works:
    optimizer_config = optimizer_lib.OptimizerConfig(
      peak_learning_rate=_LEARNING_RATE,
      decay='constant',
      weight_decay=_WEIGHT_DECAY,
      clip_norm=None,
    )
    schedule = optimizer_lib.make_schedule(
      optimizer_config, total_steps=1000, warmup_steps=0
    )
    variables = model.trainable_variables
    optimizer = optimizer_lib.make_optimizer(
      optimizer_config, schedule, variables=variables
    )

    @tf.function
    def train():
      with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(
          objective.softmax_cross_entropy(tf.one_hot(labels, 1000), logits)
        )
      optimizer_lib.apply_gradients(
        optimizer,
        tape.gradient(loss, variables),
        variables=variables,
        clip_norm=None,
      )
      return loss

    works['training'] = lambda: train().numpy()
  return works


def make_kecam(settings: Settings) -> Works:
  """CoAtNet0 of keras-cv-attention-models, with TensorFlow's own AdamW."""
  tf = _tensorflow(settings)
  from keras_cv_attention_models import coatnet

  model = getattr(coatnet, settings.model)(
    input_shape=(settings.image_size, settings.image_size, 3),
    pretrained=None,
    classifier_activation=None,
  )
  images, labels = (tf.constant(each) for each in settings.examples())
  works = {}
  if 'inference' in settings.works:
    works['inference'] = _keras_inference(tf, model, images)
  if 'training' in settings.works:
    variables = model.trainable_variables
    optimizer = tf.keras.optimizers.AdamW(
      _LEARNING_RATE, weight_decay=_WEIGHT_DECAY
    )
    optimizer.build(variables)

    @tf.function
    def train():
      with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(
          tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
      gradients = tape.gradient(loss, variables)
      optimizer.apply_gradients(zip(gradients, variables))
      return loss

    works['training'] = lambda: train().numpy()
  return works


def make_timm(settings: Settings) -> Works:
  """A CoAtNet of timm, as its documentation uses it on a CPU."""
  import torch

  _allow_foreign_torchvision(torch)
  import timm

  torch.set_num_threads(settings.threads)
  torch.set_num_interop_threads(1)
  channels_last = settings.implementation == 'channels_last'
  memory_format = (
    torch.channels_last if channels_last else torch.contiguous_format
  )

  def make():
    # Of one size whatever the name says of it.
    model = timm.create_model(settings.model, img_size=settings.image_size)
    return model.to(memory_format=memory_format)

  images, labels = (torch.from_numpy(each) for each in settings.examples())
  # [batch, height, width, 3] -> [batch, 3, height, width]
  images = images.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
  works = {}
  if 'inference' in settings.works:
    served = make().eval()

    def infer():
      with torch.inference_mode():
        served(images).numpy()

    works['inference'] = infer
  if 'training' in settings.works:
    model = make().train()
    optimizer = torch.optim.AdamW(
      model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
    )
    cross_entropy = torch.nn.CrossEntropyLoss()

    def train():
      optimizer.zero_grad()
      loss = cross_entropy(model(images), labels)
      loss.backward()
      optimizer.step()
      loss.item()

    works['training'] = train
  return works


VARIANTS = {'ours': make_ours, 'kecam': make_kecam, 'timm': make_timm}


def _tensorflow(settings: Settings):
  import tensorflow as tf

  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
  return tf


def _keras_inference(tf, model, images) -> Callable[[], None]:
  infer = tf.function(lambda x: model(x, training=False))
  return lambda: infer(images).numpy()


def _allow_foreign_torchvision(torch):
  """Lets timm import a torchvision that was built for another torch.

  PyPI has torchvision for CUDA only. Beside a torch for CPUs its own operators
  do not load, which its import takes for an error. timm wants none of them.
  """
  if metadata.version('torchvision').endswith('+cpu'):
    return
  library = torch.library.Library('torchvision', 'DEF')
  for name in ('nms', 'qnms'):
    library.define(f'{name}() -> ()')
  # It lives as long as the object does.
  torch.library.torchvision_stub = library


def idle_cpu_seconds() -> float:
  """As `timing.idle_cpu_seconds`, without the package."""
  while True:
    before = time.process_time()
    time.sleep(_IDLE_SECONDS)
    now = time.process_time()
    if now - before < _IDLE_SHARE * _IDLE_SECONDS:
      return now


def serve(works: Works, *, lines, answer: Callable[[dict], None]):
  """Does what the lines ask for, until they end."""
  for line in lines:
    request = json.loads(line)
    work = works[request['work']]
    start_cpu, start = idle_cpu_seconds(), time.perf_counter()
    for _ in range(request['repeats']):
      work()
    end = time.perf_counter()
    cpu = idle_cpu_seconds() - start_cpu
    answer({'cpu_seconds': cpu, 'seconds': end - start})


def main(argv):
  """Builds the variant and serves."""
  # Whatever a library prints must not come between the answers.
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)

  def answer(message):
    print(json.dumps(message), file=answers, flush=True)

  settings = Settings(**json.loads(argv[1]))
  works = VARIANTS[settings.variant](settings)
  answer({'ready': True})
  serve(works, lines=sys.stdin, answer=answer)


if __name__ == '__main__':
  main(sys.argv)
