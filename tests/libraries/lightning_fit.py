"""Lightning: a module with validation in the midst of epochs, a callback, a progress bar."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("valid_loss", loss)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Told(L.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.last = outputs["loss"].item()

    def on_train_epoch_end(self, trainer, module):
        print("epoch", trainer.current_epoch, "loss", self.last)


L.seed_everything(7)
x = torch.randn(48, 4)
data = TensorDataset(x, x.sum(1, keepdim=True).cos())
model = Module()
trainer = L.Trainer(max_epochs=3, accelerator="cpu", val_check_interval=3, callbacks=[Told()], log_every_n_steps=2)
trainer.fit(model, DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=24))
print("valid", trainer.callback_metrics["valid_loss"].item())
