"""Keras 3 on torch: fit with a validation split, dropout, and a callback."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

keras.utils.set_random_seed(3)
x = np.random.normal(size=(80, 5)).astype("float32")
y = np.sin(x.sum(1))


class Told(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.loss = logs["loss"]

    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch, "loss", logs["loss"], logs["val_loss"])


model = keras.Sequential([keras.layers.Dense(12, activation="tanh"), keras.layers.Dropout(0.1), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
history = model.fit(x, y, epochs=3, batch_size=16, validation_split=0.2, callbacks=[Told()], verbose=2)
best = min(history.history["val_loss"])
print("best", best)
