"""The PyTorch panel: ``nn.Module`` networks and ``torch.optim`` optimizers."""

from triptych.backends._torch.learner import BACKEND

__all__ = ["BACKEND"]
