"""Train a small network in PyTorch with steps of fastopt: ``pip install torch``, ``python torch_model.py``."""

import torch

import fastopt as fo

torch.manual_seed(0)
x = torch.rand(512, 2) * 4 - 2
y = torch.sin(x[:, :1]) * torch.cos(x[:, 1:])
model = torch.nn.Sequential(
    torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
)

opt = fo.torch.optimizer(fo.AdamW, model.parameters(), lr=1e-2, weight_decay=1e-3, clip_global_norm=1.0)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 300)
for epoch in range(300):
    opt.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    opt.step()
    schedule.step()
    if epoch % 100 == 0 or epoch == 299:
        print(f"epoch {epoch:3}: loss {loss.item():.5f}, learning rate {opt.param_groups[0]['lr']:.2e}")

torch.save(opt.state_dict(), "optimizer.pt")
theirs = torch.optim.AdamW(model.parameters(), lr=1e-2)
theirs.load_state_dict(torch.load("optimizer.pt", weights_only=True))  # and torch's goes on with it
print(f"torch's AdamW has its step {int(theirs.state[model[0].weight]['step'])} and its moments")
