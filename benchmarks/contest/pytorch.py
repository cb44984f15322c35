"""The same networks in PyTorch, eager or compiled, in float32 or under bfloat16 autocast.

    python -m benchmarks.contest.pytorch fc|conv BATCH float32|bfloat16 eager|compile
"""
import sys

from benchmarks.contest.pace import Pace
from benchmarks.contest.pictures import pictures

import torch
import torch.nn.functional as F
from torch import nn

kind, batch, precision, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.manual_seed(0)
torch.set_num_threads(torch.get_num_threads())


class Spread(nn.Module):
    def forward(self, h):       # [B, 6272] to 7x7 pixels that are channels-last already
        return h.view(-1, 7, 7, 128).permute(0, 3, 1, 2)


class Flat(nn.Module):
    def forward(self, h):
        return h.permute(0, 2, 3, 1).reshape(-1, 6272)


if kind == 'fc':
    generator = nn.Sequential(nn.Linear(100, 128), nn.ReLU(), nn.Linear(128, 784), nn.Tanh())
    discriminator = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 1))
else:
    generator = nn.Sequential(
        nn.Linear(100, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(True),
        nn.Linear(256, 6272, bias=False), nn.BatchNorm1d(6272), nn.ReLU(True), Spread(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh())
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2, True), Flat(),
        nn.Linear(6272, 256, bias=False), nn.BatchNorm1d(256), nn.LeakyReLU(0.2, True), nn.Linear(256, 1))
generator, discriminator = (net.to(memory_format=torch.channels_last) for net in (generator, discriminator))
d_adam, g_adam = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True) for net in (discriminator, generator))

data = torch.from_numpy(pictures(kind))
data = data.permute(0, 3, 1, 2) if kind == 'conv' else data


def d_losses(x, z):
    with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
        with torch.no_grad():
            fake = generator(z)
        return F.softplus(-discriminator(x).float()).mean() + F.softplus(discriminator(fake).float()).mean()


def g_losses(z):
    with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
        return F.softplus(-discriminator(generator(z)).float()).mean()


if mode == 'compile':
    d_losses, g_losses = torch.compile(d_losses), torch.compile(g_losses)

pace = Pace(20)
while True:
    order = torch.randperm(len(data))
    for i in range(len(data) // batch):
        x = data[order[i * batch:(i + 1) * batch]].float().div_(127.5).sub_(1)
        d_adam.zero_grad(set_to_none=True)
        d_losses(x, torch.randn(batch, 100)).backward()
        d_adam.step()
        discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        g_losses(torch.randn(batch, 100)).backward()
        g_adam.step()
        discriminator.requires_grad_(True)
        pace.tick()
