#!/usr/bin/env python3
"""A host of a rexgate service: a client of docs/protocol.md over the poll, to read and to build on.

    host.py enroll --token-file F --host NAME --state DIR      once; the variable SSL_CERT_FILE may name a CA file
    host.py run --state DIR [--once]                           --once: do what waits for this host, report, and end

DIR holds `key` (the Ed25519 seed), `host.json` and `journal` (JSON lines, on the disk before anything of them is sent).
Scripts run one at a time, as the account of host.py; what runs when it ends is killed, and reported as lost later."""
import argparse, base64, codecs, fcntl, functools, hashlib, http.client, itertools, json, os, pathlib, pwd, random
import signal, subprocess, sys, threading, time, urllib.error as error, urllib.request as request, uuid

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519: RFC 8032; not constant-time
D, Y = -121665 * pow(121666, -1, P), 4 * pow(5, -1, P) % P
X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
def add(p, q):
    t = D * p[0] * q[0] * p[1] * q[1]
    return (p[0] * q[1] + q[0] * p[1]) * pow(1 + t, -1, P) % P, (p[1] * q[1] + p[0] * q[0]) * pow(1 - t, -1, P) % P
def times_base(n, q=(0, 1), p=(X, Y)):
    while n: q, p, n = add(q, p) if n & 1 else q, add(p, p), n >> 1
    return (q[1] | (q[0] & 1) << 255).to_bytes(32, "little")
def sha512(*parts): return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")
@functools.lru_cache(1)
def sign(seed, text):  # gives the public key and the signature
    s, r = sha512(seed) & (1 << 254) - 8 | 1 << 254, sha512(hashlib.sha512(seed).digest()[32:], text) % L
    public, point = times_base(s), times_base(r)
    return public, point + ((r + sha512(point, public, text) * s) % L).to_bytes(32, "little")
ACCOUNT, BOOT = pwd.getpwuid(os.geteuid()), pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
def b64(data): return base64.b64encode(data).decode()
def line(record): return json.dumps(record).encode() + b"\n"
def save(path, data, mode=0o600):  # whole, and on the disk
    with open(f"{path}.new", "wb", opener=lambda *a: os.open(*a, mode)) as f: f.write(data); f.flush(); os.fsync(f)
    os.replace(f"{path}.new", path); folder = os.open(path.parent, os.O_RDONLY); os.fsync(folder); os.close(folder)
def call(url, token, body=None):  # gives the status (0: no answer), the headers, the body
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    try:
        with request.urlopen(request.Request(url, body, headers), timeout=75) as r: return r.status, r.headers, r.read()
    except error.HTTPError as e: return e.code, e.headers, e.read()
    except (OSError, http.client.HTTPException) as e: return 0, {}, str(e).encode()
def enroll(state, token, host):
    url = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["url"].rstrip("/")
    state.mkdir(0o700, parents=True, exist_ok=True)
    if not (state / "key").exists(): save(state / "key", os.urandom(32))
    public, proof = map(b64, sign((state / "key").read_bytes(), f"rexgate enroll\n{host}\n{token}".encode()))
    status, _, data = call(url + "/v1/agent/enroll", token, line({"host": host, "public_key": public, "proof": proof}))
    if status != 200: sys.exit(f"host.py: not enrolled: {status} {data.decode(errors='replace')}")
    save(state / "host.json", line({"host": host, "url": url}))

class Execution:
    kept = "execution", "token", "deliver_until", "spec", "events", "stored", "over"  # over: nothing more is to be sent
    proc, ending, seen_bytes, sent_bytes = None, None, 0, 0
    seq = property(lambda x: x.events[-1]["seq"])
    seen = property(lambda x: x.seq > 1)  # it was started, or never may be
    ended = property(lambda x: x.events[-1]["type"] in ("finished", "rejected"))
    busy = property(lambda x: not x.ended and (x.seen or not x.over))
    def kill(x, sig):  # gives whether the process group is still there
        try: return os.killpg(x.proc.pid, sig) is None
        except OSError: return False

class Host:
    session = after = failures = poll_at = offset = 0  # offset: of our clock, in seconds
    def __init__(self, state):
        self.state, self.lock, self.all, self.owned = state, threading.RLock(), {}, open(state / "host.json")
        fcntl.flock(self.owned, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process for a state directory
        self.me, self.seed, self.nonce = json.load(self.owned), (state / "key").read_bytes(), uuid.uuid4().hex
        lines = (state / "journal").read_bytes().split(b"\n") if (state / "journal").exists() else [b"{}", b""]
        head, *records = map(json.loads, lines[:-1])  # without a torn last line: nothing of it was sent
        self.generation, self.position = head.get("generation") or uuid.uuid4().hex, head.get("position", 0)
        for r in records: self.apply(r)
        self.compact()
        for x in self.all.values():
            if x.seen and not x.ended: self.event(x, "finished", outcome="lost", exit_code=-1, reason="host.py ended")
    def apply(self, r):  # a record of the journal: every change is one, and is synced before what depends on it
        x, self.position = self.all.setdefault(r["execution"], Execution()), self.position + 1
        x.events.append(r) if "seq" in r else x.__dict__.update(r)
    def record(self, r): self.file.write(line(r)); self.apply(r)
    def event(self, x, type, **more):
        with self.lock: self.record(dict(type=type, execution=x.execution, seq=x.seq + 1, at=self.now(), **more))
    def compact(self):  # drops the output of what is over, and all of what can't come again
        for x in [x for x in self.all.values() if x.over and not x.busy]:
            if self.session and self.now() > x.deliver_until: del self.all[x.execution]
            size = sum(len(e.get("text", "").encode() or base64.b64decode(e.get("b64", ""))) for e in x.events)
            gap = dict(type="gap", execution=x.execution, seq=2, through=x.seq - 1, at=self.now(), bytes=size)
            x.spec, x.events = {}, [x.events[0], gap, x.events[-1]] if x.seq > 3 else x.events
        rest = [line({k: getattr(x, k) for k in x.kept}) for x in self.all.values()]
        head = line({"generation": self.generation, "position": self.position - len(rest)})
        save(self.state / "journal", b"".join([head, *rest]))
        self.file = open(self.state / "journal", "ab")
    def handle(self, messages):  # what the gateway says
        for m in messages or ():
            type, verdict, x = m.get("type"), m.get("verdict"), self.all.get(m.get("execution"))
            if "time" in m: self.offset = m["time"] / 1000 - time.time()
            self.after = m.get("n", 0) if type == "welcome" else max(self.after, m.get("n", 0))
            if type == "welcome": self.session = m["session"]
            self.handle({"type": "ack", **a} for a in m.get("executions", ()))
            if type == "job": self.on_job(m, x, m["spec"])
            if x and "cancel" in (type, verdict): x.ending = "cancelled"
            if x and x.ending and not x.seen and not x.ended: self.event(x, "finished", outcome=x.ending, exit_code=-1)
            if x and type == "ack":
                x.stored = m.get("stored", 0)
                if verdict == "forget" or x.ended and x.stored >= x.seq: x.over = True; self.compact()
                elif verdict == "go" and not x.seen and not x.ended:
                    self.event(x, "started"); self.file.flush(); os.fsync(self.file)  # the mark, too
                    threading.Thread(target=self.run_script, args=(x, x.spec), daemon=True).start()
    def on_job(self, m, x, spec):
        new = {"execution": m["execution"], "token": m["token"], "stored": 0, "over": False}
        if x and x.seen: return self.record({**new, "events": [{**x.events[0], "token": m["token"]}, *x.events[1:]]})
        if x and x.token == m["token"] or any(y.busy and y is not x for y in self.all.values()): return  # no slot
        script = spec.get("script", "").encode() or base64.b64decode(spec.get("script_b64", ""))
        if "script_url" in spec: script = call(self.me["url"] + spec["script_url"], self.token())[2]
        if hashlib.sha256(script).hexdigest() != spec["script_sha256"]: return  # broken on the way: it comes again
        wrong = spec.get("user", "") not in ("", ACCOUNT.pw_name) and f"scripts run as {ACCOUNT.pw_name} here"
        event = {"type": "rejected", "reason": wrong} if wrong else {"type": "accepted", "position": self.position + 1}
        new["events"] = [{**event, "execution": m["execution"], "token": m["token"], "seq": 1, "at": self.now()}]
        self.record({**new, "deliver_until": m["deliver_until"], "spec": {**spec, "script": b64(script)}})
    def run_script(self, x, spec):  # a thread
        script, path, now = base64.b64decode(spec["script"]), self.state / "script", time.monotonic
        try:
            save(path, script, 0o700)
            x.proc = subprocess.Popen([path] if script.startswith(b"#!") else ["/bin/sh", path], start_new_session=True,
                cwd=spec.get("dir") or ACCOUNT.pw_dir, env={**os.environ, **spec.get("env", {})},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except Exception as e: return self.event(x, "finished", outcome="failed", exit_code=-1, reason=str(e))
        readers = [threading.Thread(target=self.read, args=(x, s, x.proc), daemon=True) for s in ("stdout", "stderr")]
        for r in readers: r.start()
        until = now() + (spec.get("run_timeout") or 1e15) / 1000
        while x.proc.poll() is None and not x.ending and now() < until: time.sleep(0.05)
        ending = x.ending or x.proc.poll() is None and "timed_out"
        until = now() + spec.get("grace", 0) / 1000 if ending and x.kill(signal.SIGTERM) else 0
        while now() < until and (x.proc.poll() is None or x.kill(0)): time.sleep(0.05)
        if ending: x.kill(signal.SIGKILL)
        code, x.proc = x.proc.wait(), None
        for r in readers: r.join(1)  # what runs on in the background may hold its output
        self.event(x, "finished", outcome=ending or ("failed" if code else "succeeded"), exit_code=max(code, -1),
                   signal={-s: s.name for s in signal.Signals}.get(code, ""), dropped=x.seen_bytes - x.sent_bytes)
    def read(self, x, stream, proc):  # a thread
        data, decoder = True, codecs.getincrementaldecoder("utf-8")("surrogateescape")  # keeps back a torn character
        while data:
            data = os.read(getattr(proc, stream).fileno(), 8189)
            with self.lock:
                room, x.seen_bytes = x.spec.get("output_limit", 0) - x.seen_bytes, x.seen_bytes + len(data)
                text = decoder.decode(data[:max(0, room)], not data and room >= 0)
                raw = text.encode("utf-8", "surrogateescape")
                what = {"text": text} if raw.decode("utf-8", "replace") == text else {"b64": b64(raw)}
                if raw and not x.ended: self.event(x, "output", stream=stream, **what); x.sent_bytes += len(raw)
    def now(self): return int((time.time() + self.offset) * 1000)
    def token(self):
        me, iat = self.me["host"], self.now() // 100000 * 100  # the same for 100 seconds: signing takes a while
        parts = {"alg": "EdDSA", "typ": "JWT"}, dict(iss=me, sub=me, aud="rexgate", iat=iat, exp=iat + 300)
        text = b".".join(base64.urlsafe_b64encode(line(part)).rstrip(b"=") for part in parts)
        return (text + b"." + base64.urlsafe_b64encode(sign(self.seed, text)[1])).decode().rstrip("=")
    def ask(self, path, body=None):  # gives the messages; after a failure None, when it is time to try again
        session, wait = self.session, random.uniform(0.5, 1) * min(60, 2**self.failures)
        status, headers, data = call(self.me["url"] + path, self.token(), body)
        try: answer, seconds = json.loads(data or b"[]"), int(headers.get("Retry-After", -1))
        except ValueError: answer, seconds, status = {}, -1, 0  # not from the gateway
        if seconds >= 0: self.poll_at = time.monotonic() + seconds
        self.failures = 0 if status in (200, 204) else self.failures + 1
        if status in (200, 204): return answer if isinstance(answer, list) else [answer]
        if status == 401 and "time" in answer: self.offset = answer["time"] / 1000 - time.time()
        if status != 409 or answer.get("code") == "duplicate": wait = max(wait, seconds)
        elif session == self.session: self.session = 0
        print(f"host.py: {path}: {status} {data[:300].decode(errors='replace')}", file=sys.stderr, flush=True)
        time.sleep(wait)
    def run(self, once):
        answers, polling, polled = [], False, 0
        while True:
            with self.lock:
                mine, session = [x for x in self.all.values() if not x.over], self.session
                due = [e for x in mine if x.stored < x.seq for e in x.events if e.get("through", e["seq"]) > x.stored]
                sizes = itertools.accumulate(len(line(e)) for e in due[:1000])
                body = [e for e, size in zip(due, sizes) if size < 260000] if session else dict(
                    type="hello", agent_version="host.py", boot_id=BOOT, generation=self.generation, nonce=self.nonce,
                    position=self.position, after=self.after, slots={"default": 1},
                    executions=[dict(execution=x.execution, token=x.token, seq=x.seq) for x in mine])
            if body:
                self.file.flush(); os.fsync(self.file)
                answer = self.ask("/v1/agent/messages" + (f"?session={session}" if session else ""), line(body))
                with self.lock: self.handle(answer)
            if self.session and not polling and time.monotonic() >= self.poll_at:
                path = f"/v1/agent/poll?session={self.session}&after={self.after}&wait={0 if once else 50}s"
                threading.Thread(target=lambda: answers.append(self.ask(path)), daemon=True).start()
                polling, polled = True, self.position
            if answers:
                answer, polling = answers.pop(), False
                with self.lock: self.handle(answer)
                if once and answer == [] and polled == self.position and all(x.over for x in self.all.values()): return
            time.sleep(0.05)

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=("enroll", "run"))
    for flag in ("--state", "--token-file", "--host"): p.add_argument(flag, required=flag == "--state")
    p.add_argument("--once", action="store_true")
    a = p.parse_args()
    if a.command == "enroll": sys.exit(enroll(pathlib.Path(a.state), open(a.token_file).read().strip(), a.host))
    threading.excepthook = lambda e: (sys.excepthook(*e[:3]), os._exit(1))  # rather none than one without a thread
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    host = Host(pathlib.Path(a.state).resolve())
    try: host.run(a.once)
    finally: [x.kill(signal.SIGKILL) for x in host.all.values() if x.proc and not x.ended]
