"""A browser without a window, spoken to over pipes by its own protocol (Chrome DevTools): loads a page, runs JavaScript in it."""
import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'


def found():
    """The path of a browser that can be used, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """An open page. `complaints` is what it has written to the console, and the errors of its scripts."""

    def __init__(self, send, receive):
        self._send, self._receive, self._numbers, self._session = send, receive, itertools.count(1), {}
        self.complaints, self._events = [], []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = {'sessionId': self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']}
        for domain in 'Page', 'Runtime', 'Log', 'Network':
            self.call(f'{domain}.enable')

    def call(self, method, **parameters):
        """The result of a method of the protocol."""
        number = next(self._numbers)
        self._send({'id': number, 'method': method, 'params': parameters, **self._session})
        while (message := self._receive()).get('id') != number:
            self._note(message)
        assert 'error' not in message, message
        return message['result']

    def _note(self, message):
        if message.get('method') in ('Runtime.consoleAPICalled', 'Runtime.exceptionThrown', 'Log.entryAdded'):
            self.complaints.append(json.dumps(message['params'])[:1000])
        if message.get('method') == 'Network.requestWillBeSent':
            url = message['params']['request']['url']
            if not url.startswith('data:'):
                self._events.append(url)
        if message.get('method') == 'Page.loadEventFired':
            self._events.append('loaded')

    def load(self, url, width=1200, height=900, dark=False):
        """Loads a page in a window of that size; returns the URLs that were asked for, but data: URIs."""
        self._events.clear()
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.call('Page.navigate', url=url)
        while 'loaded' not in self._events:
            self._note(self._receive())
        return [url for url in self._events if url != 'loaded']

    def run(self, expression):
        """The value of an expression of JavaScript, or of its promise."""
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def screenshot(self, path, whole=True):
        shot = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot['data']))


@contextlib.contextmanager
def opened(profile, seconds=60):
    """The context of a Page in a browser of its own; profile: a folder for what it writes. It waits `seconds` at most."""
    theirs, to_browser = os.pipe()
    from_browser, its = os.pipe()
    deadline, received = time.monotonic() + seconds, bytearray()

    def attach():  # the protocol is spoken on 3 and 4; both are moved out of the way before
        ends = [os.dup(theirs), os.dup(its)]
        high = [os.dup2(end, 100 + i) for i, end in enumerate(ends)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    def send(message):
        os.write(to_browser, json.dumps(message).encode() + b'\0')

    def receive():
        while b'\0' not in received:
            if not select.select([from_browser], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f'the browser has said nothing for {seconds} s')
            got = os.read(from_browser, 2**20)
            if not got:
                raise ConnectionError('the browser has ended')
            received.extend(got)
        message, _, rest = received.partition(b'\0')
        received[:] = rest
        return json.loads(message)

    process = subprocess.Popen(
        [found(), '--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', '--hide-scrollbars',
         f'--user-data-dir={profile}', '--disable-dev-shm-usage', '--no-first-run'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=attach)
    os.close(theirs)
    os.close(its)
    try:
        yield Page(send, receive)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
