"""CoAtNet as a backbone of Model Garden, under the name `coatnet`.

Importing this module registers it with tf-models-official's factory:

    from official_coatnet.model_garden import backbone

    task.model.backbone = backbone.Backbone(
        type='coatnet', coatnet=backbone.CoAtNet(name='coatnet_0'))

Every task of Model Garden that takes a backbone can then be built with it;
`experiments` has three of them.
"""

import dataclasses
import functools

import tensorflow as tf
from official.modeling import hyperparams
from official.vision.configs import backbones, common
from official.vision.modeling.backbones import factory

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import optimizer as optimizer_lib, transfer

# After '5' in the order of strings: Model Garden's classification model takes
# the last endpoint for the features.
PRE_LOGITS = 'pre_logits'
_POLICIES = ('float32', 'mixed_bfloat16')

# What of `ModelConfig` is for a backbone to say.
_ModelFields = dataclasses.make_dataclass(
  '_ModelFields',
  [
    (f.name, f.type, 'coatnet_0' if f.name == 'name' else f.default)
    for f in dataclasses.fields(config_lib.ModelConfig)
    if f.metadata.get('backbone', True)
  ],
  bases=(hyperparams.Config,),
)


@dataclasses.dataclass
class CoAtNet(_ModelFields):
  """Configuration of the backbone.

  All other fields are those of `ModelConfig`, with its meanings and defaults.
  Model Garden says the rest: the image size (`task.model.input_size`), the
  classes, the BatchNorm settings (`task.model.norm_activation`) and the
  precision (`runtime.mixed_precision_dtype`).

  Attributes:
    pre_logits: Whether there is an endpoint 'pre_logits', [batch, width]: S4
      pooled, normalised and taken through the tanh layer
      (`representation_size`). With it Model Garden's classification model is
      the paper's network. Decoders want it left out.
    init_checkpoint: A model_dir or checkpoint of this package's trainer, from
      which the weights come; relative-bias tables are resized. A checkpoint of
      Model Garden's own goes to `task.init_checkpoint`.
    init_weights: 'ema', 'raw', or None for EMA where there is one.
  """

  pre_logits: bool = False
  init_checkpoint: str | None = None
  init_weights: str | None = None


@dataclasses.dataclass
class Backbone(backbones.Backbone):
  """Model Garden's choice of backbones, and `coatnet`."""

  coatnet: CoAtNet = dataclasses.field(default_factory=CoAtNet)


@tf.keras.utils.register_keras_serializable('official_coatnet')
class CoAtNetBackbone(tf.keras.Model):
  """The functional model, with the attribute that decoders ask for."""

  @property
  def output_specs(self) -> dict[str, tf.TensorShape]:
    """Shape of each endpoint by its name."""
    return {name: tensor.shape for name, tensor in self.output.items()}


@factory.register_backbone_builder('coatnet')
def build_coatnet(
  input_specs: tf.keras.layers.InputSpec,
  backbone_config: backbones.Backbone,
  norm_activation_config: common.NormActivation,
  l2_regularizer: tf.keras.regularizers.Regularizer | None = None,
) -> tf.keras.Model:
  """Builds the backbone as Model Garden's factory asks for it.

  Args:
    input_specs: Of the images, [None, height, width, 3].
    backbone_config: A `Backbone` whose type is 'coatnet'.
    norm_activation_config: Its momentum, epsilon and `use_sync_bn` are those of
      the BatchNorms. Its activation is of the decoder and the heads only: the
      network's is GELU.
    l2_regularizer: Of kernels, or None. Table 10 decays weights in the
      optimizer instead.

  Returns:
    A model from images, normalised as Model Garden does, to a dict of levels
    '2' (S1, at 1/4 of the image) to '5' (S4, at 1/32), each [batch, ceil(height
    / 2**level), ceil(width / 2**level), D], and 'pre_logits' if asked for. The
    layout 'ViT_REL' has level '4' alone.

  Raises:
    ValueError: If the image size is not fixed, the precision not supported, or
      a field of the configuration wrong.
  """
  config = backbone_config.get()
  model_config = _model_config(
    config, input_specs, norms=norm_activation_config
  )
  net = network.classifier(model_config)
  endpoints = {
    str(stage.level): net.get_layer(f's{i}_block{blocks - 1}').output
    for i, (stage, blocks) in enumerate(
      zip(model_config.stages, model_config.blocks)
    )
    if i > 0  # The stem is no feature level of Model Garden.
  }
  if config.pre_logits:
    endpoints[PRE_LOGITS] = net.get_layer('logits').input
  model = CoAtNetBackbone(net.input, endpoints, name=model_config.name)
  if config.init_checkpoint:
    transfer.initialize(
      model, config.init_checkpoint, weights=config.init_weights
    )
  if l2_regularizer is not None:
    for variable in model.trainable_variables:
      if optimizer_lib.is_decayed(variable):
        model.add_loss(functools.partial(l2_regularizer, variable))
  return model


def _model_config(
  config: CoAtNet,
  input_specs: tf.keras.layers.InputSpec,
  *,
  norms: common.NormActivation,
) -> config_lib.ModelConfig:
  """Puts together what the backbone's configuration and Model Garden say."""
  shared = [field.name for field in dataclasses.fields(_ModelFields)]
  return config_lib.ModelConfig(
    image_size=_image_size(input_specs),
    num_classes=1,  # The last layer is Model Garden's.
    batch_norm_momentum=norms.norm_momentum,
    batch_norm_epsilon=norms.norm_epsilon,
    sync_batch_norm=norms.use_sync_bn,
    dtype=_dtype(),
    **{name: getattr(config, name) for name in shared},
  )


def _image_size(
  input_specs: tf.keras.layers.InputSpec,
) -> tuple[int, int]:
  shape = tuple(input_specs.shape)
  if len(shape) != 4 or None in shape[1:3] or shape[3] != 3:
    raise ValueError(
      f'`input_specs` has shape {list(shape)}; the backbone coatnet takes '
      '[None, height, width, 3] with numbers for height and width, because its '
      'relative-bias tables have the size of the image. Set '
      '`task.model.input_size`, such as [512, 512, 3].'
    )
  return shape[1:3]


def _dtype() -> str:
  policy = tf.keras.mixed_precision.global_policy().name
  if policy not in _POLICIES:
    raise ValueError(
      f'The mixed precision policy is {policy!r}; the backbone coatnet takes '
      f'{" or ".join(_POLICIES)}. Set `runtime.mixed_precision_dtype` to '
      "'float32' or 'bfloat16'."
    )
  return policy
