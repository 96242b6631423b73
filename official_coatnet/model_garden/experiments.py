"""Experiments of Model Garden with CoAtNet.

Importing this module registers them, and the backbone:

    from official.core import exp_factory
    from official_coatnet.model_garden import experiments

    experiment = exp_factory.get_exp_config('coatnet_imagenet')

`tools/model_garden_train.py` runs them with Model Garden's own trainer. The
paper leaves detection and segmentation for future work: those two are made to
run, not to reproduce a number. docs/model_garden.md says what differs from the
trainer of this package.
"""

from official.core import config_definitions, exp_factory
from official.modeling import optimization
from official.vision.configs import (
  common,
  image_classification,
  retinanet,
  semantic_segmentation,
)

from official_coatnet.model_garden import backbone


def _adamw(
  *,
  peak: float,
  floor: float,
  weight_decay: float,
  train_steps: int,
  warmup_steps: int,
) -> optimization.OptimizationConfig:
  """AdamW with warm-up and cosine, as `training.optimizer` has it.

  Model Garden's defaults differ in four things. `include_in_weight_decay` adds
  to what is decayed and excludes nothing, so the exclusion is written out.
  `gradient_clip_norm` clips the share of each replica before the shares are
  summed, `global_clipnorm` their sum. The cosine starts at step 0 unless it
  has an offset, and so falls during the warm-up. Adam's epsilon is 1e-7.
  """
  return optimization.OptimizationConfig(
    {
      'optimizer': {
        'type': 'adamw',
        'adamw': {
          'beta_1': 0.9,
          'beta_2': 0.999,
          'epsilon': 1e-6,
          'weight_decay_rate': weight_decay,
          # Norms, biases and relative-bias tables.
          'exclude_from_weight_decay': ['bias', 'gamma', 'beta'],
          'gradient_clip_norm': 0.0,
          'global_clipnorm': 1.0,
        },
      },
      'learning_rate': {
        'type': 'cosine',
        'cosine': {
          'initial_learning_rate': peak,
          'alpha': floor / peak,
          'decay_steps': train_steps - warmup_steps,
          'offset': warmup_steps,
        },
      },
      'warmup': {
        'type': 'linear',
        'linear': {'warmup_steps': warmup_steps, 'warmup_learning_rate': 0.0},
      },
    }
  )


def _set_trainer(
  experiment: config_definitions.ExperimentConfig,
  *,
  num_examples: int,
  epochs: int,
  **adamw,
):
  """Sets steps and optimizer; evaluates, saves and logs once an epoch."""
  batch_size = experiment.task.train_data.global_batch_size
  steps_per_epoch = num_examples // batch_size
  train_steps = epochs * num_examples // batch_size
  trainer = experiment.trainer
  trainer.train_steps = train_steps
  trainer.steps_per_loop = steps_per_epoch
  trainer.summary_interval = steps_per_epoch
  trainer.checkpoint_interval = steps_per_epoch
  trainer.validation_interval = steps_per_epoch
  trainer.optimizer_config = _adamw(train_steps=train_steps, **adamw)


@exp_factory.register_config_factory('coatnet_imagenet')
def coatnet_imagenet() -> config_definitions.ExperimentConfig:
  """CoAtNet-0 on ImageNet-1K at 224 (Table 10, first column)."""
  experiment = image_classification.image_classification()
  experiment.runtime.mixed_precision_dtype = 'bfloat16'
  task = experiment.task
  task.model = image_classification.ImageClassificationModel(
    num_classes=1001,  # The labels of ImageNet's TFRecords begin with 1.
    input_size=[224, 224, 3],
    backbone=backbone.Backbone(
      type='coatnet',
      coatnet=backbone.CoAtNet(
        name='coatnet_0', stochastic_depth=0.2, pre_logits=True
      ),
    ),
    norm_activation=common.NormActivation(use_sync_bn=False),
  )
  # Model Garden's mixup makes smoothed rows out of the labels: neither a second
  # smoothing nor `one_hot` may follow.
  task.losses = image_classification.Losses(one_hot=False, soft_labels=True)
  task.train_data = image_classification.DataConfig(
    input_path='imagenet-2012-tfrecord/train*',
    is_training=True,
    global_batch_size=4096,
    aug_type=common.Augmentation(
      type='randaug',
      # Reach of a translation in pixels: the default of 10 is Model Garden's.
      randaug=common.RandAugment(
        num_layers=2, magnitude=15, cutout_const=40, translate_const=100
      ),
    ),
    mixup_and_cutmix=common.MixupAndCutmix(
      mixup_alpha=0.8, cutmix_alpha=0.0, label_smoothing=0.1
    ),
  )
  task.validation_data = image_classification.DataConfig(
    input_path='imagenet-2012-tfrecord/valid*',
    is_training=False,
    # Divides the 50,000 images: Model Garden leaves out a part of a batch.
    global_batch_size=2000,
  )
  _set_trainer(
    experiment,
    num_examples=image_classification.IMAGENET_TRAIN_EXAMPLES,
    epochs=300,
    peak=1e-3,
    floor=1e-5,
    weight_decay=0.05,
    warmup_steps=10000,
  )
  experiment.trainer.validation_steps = 25
  return experiment


@exp_factory.register_config_factory('coatnet_retinanet_coco')
def coatnet_retinanet_coco() -> config_definitions.ExperimentConfig:
  """RetinaNet with CoAtNet-0 and a FPN on COCO at 640.

  Model Garden's experiment for ResNet-50 with another backbone and optimizer.
  The values of the latter are what detectors with transformer backbones
  commonly begin with; they were not tuned.
  """
  experiment = retinanet.retinanet_resnetfpn_coco()
  task = experiment.task
  task.init_checkpoint = None  # It was that of the ResNet.
  task.model.backbone = backbone.Backbone(
    type='coatnet',
    coatnet=backbone.CoAtNet(name='coatnet_0', stochastic_depth=0.2),
  )
  # A core sees a few images only: too few for statistics of its own.
  task.model.norm_activation.use_sync_bn = True
  task.losses.l2_weight_decay = 0.0
  task.train_data.global_batch_size = 64
  _set_trainer(
    experiment,
    num_examples=retinanet.COCO_TRAIN_EXAMPLES,
    epochs=36,
    peak=1e-4,
    floor=1e-6,
    weight_decay=0.05,
    warmup_steps=1000,
  )
  return experiment


@exp_factory.register_config_factory('coatnet_semantic_segmentation')
def coatnet_semantic_segmentation() -> config_definitions.ExperimentConfig:
  """Semantic segmentation with CoAtNet-0 and a FPN on Pascal VOC at 512.

  Model Garden's experiment for ResNet-50 with another backbone and optimizer,
  whose values were not tuned.
  """
  experiment = semantic_segmentation.seg_resnetfpn_pascal()
  experiment.runtime.mixed_precision_dtype = 'bfloat16'
  task = experiment.task
  task.model.backbone = backbone.Backbone(
    type='coatnet',
    coatnet=backbone.CoAtNet(name='coatnet_0', stochastic_depth=0.2),
  )
  # The head reads level 3: above level 5 the FPN would be built for nothing.
  task.model.max_level = 5
  task.losses.l2_weight_decay = 0.0
  task.train_data.global_batch_size = 32
  # The segmentation input does not take its size from the model.
  task.train_data.output_size = [512, 512]
  task.validation_data.output_size = [512, 512]
  _set_trainer(
    experiment,
    num_examples=semantic_segmentation.PASCAL_TRAIN_EXAMPLES,
    epochs=100,
    peak=1e-4,
    floor=1e-6,
    weight_decay=0.05,
    warmup_steps=1000,
  )
  experiment.trainer.validation_steps = -1  # All 1,449 images.
  return experiment
