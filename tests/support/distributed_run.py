"""Train on two processes with gloo, and print what the parent test compares: ``python -m torch.distributed.run ... folder``."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

import fastopt as fo

FOLDER = Path(sys.argv[1])


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 6, generator=generator), torch.randn(8, 1, generator=generator)


def loss_of(net, step, rank, ranks):
    """Return the loss of this rank's rows; the ranks' mean is that of all."""
    x, y = (a.chunk(ranks)[rank] for a in batch(step))
    return (net(x) - y).square().mean()


def train(net, optimizer, first, count, rank=0, ranks=1, schedule=None):
    for step in range(first, first + count):
        optimizer.zero_grad()
        loss_of(net, step, rank, ranks).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def values(net):
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def alone(count):
    net = model()
    train(net, fo.torch.AdamW(net.parameters(), lr=0.01), 0, count)
    return values(net)


def replicated(rank, ranks):
    """Distributed data parallel: every rank makes the same steps."""
    net = model()
    parallel = DistributedDataParallel(net)
    train(parallel, fo.torch.AdamW(parallel.parameters(), lr=0.01), 0, 6, rank, ranks)
    everywhere = [torch.empty_like(values(net)) for _ in range(ranks)]
    dist.all_gather(everywhere, values(net))
    assert all(torch.equal(x, everywhere[0]) for x in everywhere)
    torch.testing.assert_close(everywhere[0], alone(6), rtol=1e-5, atol=1e-6)


def divided(rank, ranks):
    """ZeRO, stage 1: state is divided among ranks; a scheduler, a checkpoint on one rank, and its resumption."""
    net = model()
    parallel = DistributedDataParallel(net)

    def make(parameters):
        return ZeroRedundancyOptimizer(parameters, optimizer_class=fo.torch.AdamW, lr=0.01, parameters_as_bucket_view=True)

    optimizer = make(parallel.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1.0)
    train(parallel, optimizer, 0, 3, rank, ranks, schedule)
    mine = sum(x.numel() for entry in optimizer.optim.state.values() for name, x in entry.items() if name != "step")
    assert 0 < mine < 2 * values(net).numel()
    optimizer.consolidate_state_dict(to=0)
    if rank == 0:
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, FOLDER / "zero.pt")
    dist.barrier()
    saved = torch.load(FOLDER / "zero.pt", weights_only=True)
    again = model()
    again.load_state_dict(saved["net"])
    resumed = make(again.parameters())
    resumed.load_state_dict(saved["optimizer"])
    train(DistributedDataParallel(again), resumed, 3, 3, rank, ranks)
    torch.testing.assert_close(values(again), alone(6), rtol=1e-5, atol=1e-6)
    if rank == 0:
        torch.save(values(again), FOLDER / "resumed.pt")


def sharded(rank, ranks):
    """Parameters of which a rank has a part are refused by name."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = model()
    fully_shard(net, mesh=init_device_mesh("cpu", (ranks,)))
    try:
        fo.torch.AdamW(net.parameters(), lr=0.01)
    except TypeError as error:
        assert "a DTensor, of which this process has a part" in str(error), error
    else:
        raise AssertionError("a part was taken for the whole")


if __name__ == "__main__":
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    for part in (replicated, divided, sharded):
        part(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
    print("done")
