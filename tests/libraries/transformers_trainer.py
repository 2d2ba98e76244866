"""Hugging Face Trainer: a small model of one's own, a callback, gradient accumulation, evaluation."""

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

torch.manual_seed(0)
inputs = torch.randn(64, 6)
rows = [{"x": row, "labels": row.sum().sin()} for row in inputs]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x, labels=None):
        guess = self.layers(x).squeeze(-1)
        return {"loss": nn.functional.mse_loss(guess, labels), "logits": guess}


class Told(TrainerCallback):
    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps = state.global_step

    def on_epoch_end(self, args, state, control, **kwargs):
        print("epoch", state.epoch, "after", self.steps)


def main():
    model = Model()
    args = TrainingArguments(
        output_dir="out",
        num_train_epochs=3,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        learning_rate=0.01,
        eval_strategy="epoch",
        logging_steps=2,
        save_strategy="epoch",
        report_to=[],
        use_cpu=True,
    )
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows[:16], callbacks=[Told()])
    result = trainer.train()
    print("loss", result.training_loss)


if __name__ == "__main__":
    main()
