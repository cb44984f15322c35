"""A contestant's side of benchmarks/throughput.py: it waits on a pipe, runs when told to, and says how far it came."""
import json
import sys
import time


class Pace:
    """Call `tick` after each step, or each few: it blocks until the next round. `facts` are told with the first one."""

    def __init__(self, warm_up, **facts):
        self.left, self.facts, self.start = warm_up, facts, None

    def tick(self, steps=1):
        if self.start is None:
            self.left -= steps
            if self.left <= 0:
                self._say(**self.facts)
                self._wait()
            return
        self.steps += steps
        now = time.perf_counter()
        if now - self.start >= self.seconds:
            self._say(steps=self.steps, seconds=now - self.start)
            self._wait()

    def _wait(self):
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        self.seconds, self.steps, self.start = float(line), 0, time.perf_counter()

    @staticmethod
    def _say(**facts):
        with open('/proc/self/status') as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))
        print('@' + json.dumps({**facts, 'peak_mb': peak / 1024}), flush=True)
