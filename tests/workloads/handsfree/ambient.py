"""State that no variable holds: printing options, precision, default dtype, environment, recursion limit."""
import decimal, logging, os, random, sys, warnings
import numpy as np
import torch
random.seed(1)
w = np.zeros(3)
for epoch in range(5):
    for step in range(3):
        w += random.random() / 3
        # ask(inner): print("ASK", w, torch.ones(1).dtype)
    if epoch == 1:
        np.set_printoptions(precision=3)
        decimal.getcontext().prec = 5
        os.environ["PHASE"] = "two"
        sys.setrecursionlimit(1234)
    if epoch == 2:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(divide="ignore")
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("mine").setLevel(logging.DEBUG)
        logging.disable(logging.INFO)
    # ask(outer): print("ASK", w, decimal.Decimal(1) / 3, os.environ.get("PHASE"), sys.getrecursionlimit(), torch.ones(1).dtype, torch.is_grad_enabled(), np.geterr()["divide"], logging.getLogger("mine").level, logging.root.level, logging.root.manager.disable)
    print(epoch, float(w.sum()))
