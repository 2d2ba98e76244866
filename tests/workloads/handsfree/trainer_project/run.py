"""A Trainer class with its methods in another module of the project."""

import torch
from engine.model import make_model
from engine.trainer import Printer, Trainer

torch.manual_seed(1)
torch.set_num_threads(1)
inputs = torch.randn(80, 5)
trainer = Trainer(make_model(5), callbacks=[Printer()])
trainer.fit((inputs[:60], inputs[:60].prod(1)), (inputs[60:], inputs[60:].prod(1)), epochs=5)
print("best", round(trainer.best, 6))
