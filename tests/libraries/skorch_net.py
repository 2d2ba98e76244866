"""skorch: a classifier with a callback of its own, tuned by nobody."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

torch.manual_seed(0)
rng = np.random.default_rng(0)
features = rng.normal(size=(96, 8)).astype(np.float32)
labels = (features.sum(1) > 0).astype(np.int64)


class Watcher(Callback):
    def on_batch_end(self, net, loss=None, training=False, **kwargs):
        size = float(loss)
        self.last = size

    def on_epoch_end(self, net, **kwargs):
        print("train loss", net.history[-1, "train_loss"])


net = NeuralNetClassifier(
    nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2), nn.Softmax(dim=-1)),
    max_epochs=3,
    batch_size=16,
    lr=0.1,
    callbacks=[Watcher()],
)
net.fit(features, labels)
accuracy = (net.predict(features) == labels).mean()
print("accuracy", accuracy)
