"""Moving MNIST, 10 -> 10 frames. `--config=configs/moving_mnist.py:SIZE`, SIZE one of tiny, XS, S, M, L, 54M.

Published (paper tables 1-3 and 8, figure 1): 200 epochs of 10,000 generated sequences, batch 16, Adam, OneCycle to 0.003.
MSE on the published test set: XS 24.48, S 23.29, M 22.21, L 21.80, 54M 20.54 (read from figure 1).

tiny is not from the paper: 32x32 frames with digits at half size, for a first look in minutes on two cores.
"""

import ml_collections

from stlight_jax import InputError

# size: (hidden_dim, overlap); depth 16, patch 2, kernels 3 and 7 for all of them
PUBLISHED = {"XS": (800, 0), "S": (1000, 0), "M": (1200, 0), "L": (1400, 0), "54M": (1800, 2)}


def get_config(size: str = "L") -> ml_collections.ConfigDict:
    """The config of one size. Raises InputError for an unknown one."""
    if size not in (*PUBLISHED, "tiny"):
        raise InputError(f"configs/moving_mnist.py has no size {size!r}; choose one of tiny, {', '.join(PUBLISHED)}")
    hidden_dim, overlap = PUBLISHED.get(size, (96, 0))

    config = ml_collections.ConfigDict()
    config.dataset = "moving_mnist"
    config.size = size

    config.model = ml_collections.ConfigDict()
    config.model.in_frames = 10
    config.model.out_frames = 10
    config.model.in_channels = 1
    config.model.out_channels = 1
    config.model.hidden_dim = hidden_dim
    config.model.depth = 16
    config.model.patch_size = 2
    config.model.overlap = overlap
    config.model.near_kernel = 3
    config.model.far_kernel = 7
    config.model.dilation = 3
    config.model.depthwise = "auto"  # auto | native | taps | cpu
    config.model.precision = "float32"  # of matrix products: float32 | tensorfloat32 | bfloat16
    config.model.dtype = "float32"  # of activations: float32 | bfloat16
    config.model.rematerialise = "elementwise"  # computed again in training to save memory: nothing | elementwise | blocks
    config.model.scan_unroll = 1  # mixer blocks compiled per turn of the loop over them

    config.data = ml_collections.ConfigDict()
    config.data.root = ""  # folder with the idx files and, if you have it, mnist_test_seq.npy; "" is the embedded digits
    config.data.digits = "auto"  # auto | embedded | idx | tfds
    config.data.image_size = 64
    config.data.digit_size = 28
    config.data.sequences_per_epoch = 10_000
    config.data.validation_sequences = 1_000
    config.data.test_sequences = 10_000  # when the published test set is not there

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 3e-3  # at the peak of OneCycle
    config.optimizer.rise = 0.3  # part of the run spent climbing to it
    config.optimizer.div_factor = 25.0
    config.optimizer.final_div_factor = 1e4
    config.optimizer.beta1_low = 0.85
    config.optimizer.beta1_high = 0.95
    config.optimizer.beta2 = 0.999
    config.optimizer.eps = 1e-8
    config.optimizer.clip_norm = 0.0  # of the global gradient; 0 is off
    config.optimizer.weight_decay = 0.0  # decoupled, kernels only; 0 is off

    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 16  # over all devices
    config.train.epochs = 200
    config.train.seed = 42
    config.train.checkpoint_every = 625  # steps between validations, each saved with its score
    config.train.keep_checkpoints = 3  # newest ones (at least 2), beside the best
    config.train.log_every = 25  # steps
    config.train.init_from = ""  # workdir or checkpoint whose weights a new run starts from
    config.train.tensorboard = True  # events too, when the package tensorboard is installed

    config.evaluation = ml_collections.ConfigDict()
    config.evaluation.batch_size = 64  # over all devices
    config.evaluation.pictures = 6  # sequences drawn

    if size == "tiny":
        config.model.depth = 6
        config.model.far_kernel = 5
        config.model.scan_unroll = 6
        config.data.image_size = 32
        config.data.digit_size = 14
        config.data.sequences_per_epoch = 1_600
        config.data.test_sequences = 1_000
        # Found by trying: at an equal number of sequences batch 16 at 3e-3 ends at 89 % of the best constant image's MSE,
        # batch 8 at 1e-2 at 78 %.
        config.optimizer.learning_rate = 1e-2
        config.train.batch_size = 8
        config.train.epochs = 12
        config.train.checkpoint_every = 600
    return config
