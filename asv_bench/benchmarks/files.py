"""State in files, dictionaries and copies."""

import copy
import pickle

from .common import NETWORK, bound


class Network:
    """Adam's state of six arrays with 235 146 elements."""

    params = (None, "bfloat16")
    param_names = ("state_dtype",)

    def setup(self, state_dtype):
        self.optimizer = bound("Adam", NETWORK, state_dtype=state_dtype)
        self.optimizer.step()
        self.optimizer.save("saved.npz")
        self.state, self.pickled = self.optimizer.state_dict(), pickle.dumps(self.optimizer)

    def time_save(self, state_dtype):
        self.optimizer.save("run.npz")

    def time_load(self, state_dtype):
        self.optimizer.load("saved.npz")

    def time_state_dict(self, state_dtype):
        self.optimizer.state_dict()

    def time_load_state_dict(self, state_dtype):
        self.optimizer.load_state_dict(self.state)

    def time_deepcopy(self, state_dtype):
        copy.deepcopy(self.optimizer)

    def time_pickle(self, state_dtype):
        pickle.dumps(self.optimizer)

    def time_unpickle(self, state_dtype):
        pickle.loads(self.pickled)

    def time_fingerprint(self, state_dtype):
        self.optimizer.fingerprint()

    def track_file_bytes(self, state_dtype):
        from pathlib import Path

        return Path("saved.npz").stat().st_size

    track_file_bytes.unit = "bytes"
