"""One thread for every test and for the processes that tests start.

The tensors of tests are small: a second thread waits longer than it works, and results do not depend on the machine.
"""

import os

import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
torch.set_num_threads(1)
