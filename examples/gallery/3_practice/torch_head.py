"""
Gradient descent goes where the closed form is: a head in PyTorch
=================================================================

Features of a network of PyTorch go in, a ``torch.nn.Linear`` comes out: the minimiser of the VICReg risk over all
linear heads. Beside it the same head after epochs of stochastic gradient descent on the same risk.
"""

import matplotlib.pyplot as plt
import torch

import sslcore
import sslcore.torch
from sslcore.augmentations import Affine
from sslcore.features import Identity

torch.manual_seed(0)
x, _ = sslcore.datasets.digits()
views = torch.from_numpy(Affine((8, 8), rotation=15.0, shift=1.0).views(x[:1000], 2, seed=0)).float()
encoder = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU())
with torch.no_grad():
    features = encoder(views).double()

k, reg = 8, 1e-2
rep = sslcore.pretrain(features, Identity(), k, reg=reg, unbiased=False)
layer = sslcore.torch.linear_layer(rep, dtype=torch.float64)
network = torch.nn.Sequential(encoder.double(), layer)
print(network)

head = torch.nn.Linear(128, k, bias=False, dtype=torch.float64)
optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9)
risks = []
for _ in range(60):
    for batch in torch.randperm(len(features)).split(250):
        optimizer.zero_grad()
        loss = sslcore.torch.vicreg(head(features[batch])) + 2 * reg * (head.weight**2).sum()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        risks.append(float(sslcore.torch.vicreg(head(features)) + 2 * reg * (head.weight**2).sum()))

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(risks, label="stochastic gradient descent")
axes.axhline(rep.risk, color="k", ls=":", label="closed form")
axes.set(xlabel="epoch", ylabel="penalised risk", ylim=(0, None))
axes.legend()
