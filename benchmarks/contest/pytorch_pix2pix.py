"""pix2pix.py's networks and step in PyTorch, eager, as its authors' code takes a step: G is applied once, for D and for G.

    python -m benchmarks.contest.pytorch_pix2pix BATCH float32|bfloat16
"""
import math
import sys

from benchmarks.contest.pace import Pace
from benchmarks.contest.pictures import pictures

import torch
import torch.nn.functional as F
from torch import nn

batch, precision = int(sys.argv[1]), sys.argv[2]
SIDE, WIDTH, PATCH_LAYERS = 64, 32, 3    # the last two are pix2pix.py's
torch.manual_seed(0)


def norm(channels):
    return nn.BatchNorm2d(channels, momentum=0.01)


class UNet(nn.Module):
    def __init__(self, given, made):
        super().__init__()
        depth = round(math.log2(SIDE))
        widths = [WIDTH * min(2 ** level, 8) for level in range(depth)]
        down, up = [], []
        for level, (before, after) in enumerate(zip([given, *widths], widths, strict=False)):
            plain = level in (0, depth - 1)
            down.append(nn.Sequential(nn.Conv2d(before, after, 4, 2, 1, bias=plain), nn.Identity() if plain else norm(after),
                                      nn.LeakyReLU(0.2)))
        for level in range(depth - 1, 0, -1):
            before = widths[level] * (1 if level == depth - 1 else 2)
            up.append(nn.Sequential(nn.ConvTranspose2d(before, widths[level - 1], 4, 2, 1, bias=False), norm(widths[level - 1]),
                                    nn.ReLU()))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.last = nn.Sequential(nn.ConvTranspose2d(2 * widths[0], made, 4, 2, 1), nn.Tanh())

    def forward(self, h):
        kept = []
        for layer in self.down:
            h = layer(h)
            kept.append(h)
        kept.pop()
        for layer in self.up:
            h = torch.cat([layer(h), kept.pop()], 1)
        return self.last(h)


def discriminator(channels):
    layers, width = [nn.Conv2d(channels, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)], WIDTH
    for number in range(2, PATCH_LAYERS + 2):
        after, stride = WIDTH * min(2 ** (number - 1), 8), 2 if number <= PATCH_LAYERS else 1
        layers += [nn.Conv2d(width, after, 4, stride, 1, bias=False), norm(after), nn.LeakyReLU(0.2)]
        width = after
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))


g = UNet(1, 3).to(memory_format=torch.channels_last)
d = discriminator(4).to(memory_format=torch.channels_last)
d_adam, g_adam = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True) for net in (d, g))
data = torch.from_numpy(pictures('colour')).permute(0, 3, 1, 2)
luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
pace = Pace(10)
while True:
    order = torch.randperm(len(data))
    for i in range(len(data) // batch):
        y = data[order[i * batch:(i + 1) * batch]].float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        x = (y * luma).sum(1, keepdim=True)
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
            fake = g(x)
            real_logits, fake_logits = d(torch.cat([x, y], 1)).float(), d(torch.cat([x, fake.detach()], 1)).float()
        d_adam.zero_grad(set_to_none=True)
        (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()).backward()
        d_adam.step()
        d.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
            fake_logits = d(torch.cat([x, fake], 1)).float()
        (F.softplus(-fake_logits).mean() + 10 * (y - fake.float()).abs().mean()).backward()
        g_adam.step()
        d.requires_grad_(True)
        pace.tick()
