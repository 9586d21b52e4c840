-- rexgate's embedded store, schema 1.
--
-- Times are Unix milliseconds on the store's clock; lapse_at and meta's
-- service_ms are milliseconds of service time, which stands still while nothing
-- sweeps. The views at the end show names for numbers.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value NOT NULL
) WITHOUT ROWID;

CREATE TABLE state (
  code  TEXT PRIMARY KEY,
  name  TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO state VALUES
  ('p','planned'), ('q','queued'), ('l','leased'), ('a','accepted'), ('r','running'),
  ('s','succeeded'), ('f','failed'), ('t','timed_out'), ('c','cancelled'),
  ('e','expired'), ('j','rejected'), ('x','lost');

-- A deleted host keeps its row, so that its executions stay readable and its
-- incarnation goes on rising.
CREATE TABLE host (
  n           INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  incarnation INTEGER NOT NULL,
  revoked     INTEGER NOT NULL DEFAULT 0,
  deleted     INTEGER NOT NULL DEFAULT 0,
  enrolled_at INTEGER NOT NULL,
  token       TEXT NOT NULL,              -- enrolment token that it came with
  public_key  BLOB,
  labels      TEXT NOT NULL               -- JSON object
);

CREATE TABLE host_facts (
  host  INTEGER PRIMARY KEY,
  facts TEXT NOT NULL                     -- JSON object, as the host says
);

CREATE TABLE enrol_token (
  token   TEXT PRIMARY KEY,
  used    INTEGER NOT NULL,               -- different (host, key) pairs
  expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE enrol_use (
  token      TEXT NOT NULL,
  host       TEXT NOT NULL,
  public_key BLOB NOT NULL,
  PRIMARY KEY (token, host, public_key)
) WITHOUT ROWID;

CREATE TABLE gateway (
  name        TEXT PRIMARY KEY,
  alive_until INTEGER NOT NULL
) WITHOUT ROWID;

-- One row a host that ever said hello. An ended session keeps its row: epoch
-- and n never go back.
CREATE TABLE session (
  host            INTEGER PRIMARY KEY,
  epoch           INTEGER NOT NULL,
  gateway         TEXT NOT NULL,          -- '' once the session has ended
  transport       TEXT NOT NULL,
  since           INTEGER NOT NULL,       -- claimed, or ended if gateway = ''
  due_at          INTEGER,                -- a poll is overdue after; NULL for a socket
  n               INTEGER NOT NULL,       -- number of the last message to the host
  given           INTEGER NOT NULL,       -- of the last one that a Lease or Claim has given
  slots           TEXT,                   -- JSON object by lane; NULL = one each
  agent_version   TEXT NOT NULL,
  boot_id         TEXT NOT NULL,
  generation      TEXT NOT NULL,
  nonce           TEXT NOT NULL,
  superseded      TEXT,                   -- JSON array: nonces of this generation that others replaced
  duplicate_since INTEGER
);
CREATE INDEX session_gateway ON session (gateway, host) WHERE gateway <> '';

CREATE TABLE job (
  n              INTEGER PRIMARY KEY AUTOINCREMENT, -- order of submission
  id             TEXT NOT NULL UNIQUE,
  visible        INTEGER NOT NULL,        -- 0: being submitted, or being removed
  control        TEXT NOT NULL,
  name           TEXT NOT NULL,
  lane           TEXT NOT NULL,
  priority       INTEGER NOT NULL,
  not_before     INTEGER,
  pickup_timeout INTEGER NOT NULL,        -- ms, as the other durations
  run_timeout    INTEGER NOT NULL,
  grace          INTEGER NOT NULL,
  output_limit   INTEGER NOT NULL,
  run_as         TEXT NOT NULL,
  dir            TEXT NOT NULL,
  script_size    INTEGER NOT NULL,
  script_sha256  TEXT NOT NULL,
  created_at     INTEGER NOT NULL,
  created_by     TEXT NOT NULL,
  rerun_of       TEXT NOT NULL,
  selection      TEXT NOT NULL,
  targets        INTEGER NOT NULL
);

CREATE INDEX job_leaving ON job (n) WHERE visible = 0;

CREATE TABLE job_payload (
  job    INTEGER PRIMARY KEY,
  script BLOB NOT NULL,
  env    TEXT                             -- JSON object
);

CREATE TABLE idempotency (
  key    TEXT PRIMARY KEY,
  job    INTEGER NOT NULL,
  digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_job ON idempotency (job);

-- What moves about a job. The counters are the number of its executions in each
-- state.
CREATE TABLE progress (
  job           INTEGER PRIMARY KEY,
  open          INTEGER NOT NULL,         -- 1: planned targets, or an unfinished cancel
  next          INTEGER NOT NULL,         -- ordinal that Expand goes on from
  driver        TEXT NOT NULL DEFAULT '',
  driver_seen   INTEGER NOT NULL DEFAULT 0,
  cancel_next   INTEGER,                  -- ordinal that Cancel goes on from; NULL = none asked for
  cancelled_at  INTEGER,
  cancelled_by  TEXT,
  finished_at   INTEGER,
  record_bytes  INTEGER NOT NULL,         -- about what its records take
  output_bytes  INTEGER NOT NULL DEFAULT 0,
  output_gone   INTEGER NOT NULL DEFAULT 0, -- 1: being removed by retention, 2: removed
  planned INTEGER NOT NULL DEFAULT 0, queued    INTEGER NOT NULL DEFAULT 0,
  leased  INTEGER NOT NULL DEFAULT 0, accepted  INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0,
  failed  INTEGER NOT NULL DEFAULT 0, timed_out INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0,
  rejected  INTEGER NOT NULL DEFAULT 0, lost    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX progress_open ON progress (job) WHERE open = 1;
CREATE INDEX progress_finished ON progress (finished_at, job, record_bytes) WHERE finished_at IS NOT NULL;
CREATE INDEX progress_output ON progress (finished_at, job, output_bytes, output_gone) WHERE finished_at IS NOT NULL AND output_gone = 0 AND output_bytes > 0;
CREATE INDEX progress_leaving ON progress (job) WHERE output_gone = 1;

-- id = job.n * 1048576 + ordinal, so that a job's executions lie together, in
-- order.
CREATE TABLE execution (
  id            INTEGER PRIMARY KEY,
  host          INTEGER NOT NULL,
  incarnation   INTEGER NOT NULL,
  state         TEXT NOT NULL,            -- see table state
  lane          TEXT NOT NULL,
  -- Place in its host's lane: -1 in flight; 100 - priority while queued; not_before
  -- while that is to come; NULL while planned and once ended.
  turn          INTEGER,
  wake_at       INTEGER,                  -- queued: not_before, then deliver_until
  lapse_at      INTEGER,                  -- in flight: lease or silence ends, in service time
  n             INTEGER,                  -- number of its delivery
  cancel_n      INTEGER,                  -- number of its cancel message
  token         TEXT,                     -- of the last lease
  deliveries    INTEGER,
  released_at   INTEGER,
  deliver_until INTEGER,
  leased_at     INTEGER,
  accepted_at   INTEGER,
  started_at    INTEGER,
  finished_at   INTEGER,
  cancelled_at  INTEGER,
  cancelled_by  TEXT,
  generation    TEXT,                     -- of the journal that accepted it
  position      INTEGER,
  stored        INTEGER,                  -- events are stored up to here
  stdout        INTEGER,                  -- bytes
  stderr        INTEGER,
  dropped       INTEGER,
  gap           INTEGER,
  exit_code     INTEGER,
  signal        TEXT,
  reason        TEXT,
  result_at     INTEGER,
  late          TEXT                      -- JSON: the result that came after it was lost
);
CREATE INDEX execution_host  ON execution (host);
CREATE INDEX execution_live  ON execution (host, lane, turn) WHERE turn IS NOT NULL;
CREATE INDEX execution_wake  ON execution (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX execution_lapse ON execution (lapse_at) WHERE lapse_at IS NOT NULL;

-- One row a chunk, or a gap.
CREATE TABLE output (
  execution INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  stream    TEXT NOT NULL,                -- stdout, stderr, gap
  at        INTEGER NOT NULL,
  out_at    INTEGER NOT NULL,             -- bytes of stdout before it
  err_at    INTEGER NOT NULL,             -- bytes of stderr before it
  missing   INTEGER NOT NULL DEFAULT 0,   -- bytes that a gap stands for
  data      BLOB,
  PRIMARY KEY (execution, seq)
) WITHOUT ROWID;

CREATE VIEW executions AS
  SELECT j.id AS job, h.id AS host, x.id & 1048575 AS ordinal, s.name AS state, x.lane, j.priority,
    x.deliveries, x.exit_code, x.signal, x.reason, x.stdout, x.stderr,
    datetime(x.released_at / 1000, 'unixepoch') AS released, datetime(x.leased_at / 1000, 'unixepoch') AS leased,
    datetime(x.accepted_at / 1000, 'unixepoch') AS accepted, datetime(x.started_at / 1000, 'unixepoch') AS started,
    datetime(x.finished_at / 1000, 'unixepoch') AS finished, x.id
  FROM execution x JOIN job j ON j.n = x.id >> 20 JOIN host h ON h.n = x.host JOIN state s ON s.code = x.state;

CREATE VIEW jobs AS
  SELECT j.id, j.name, j.control, j.created_by, datetime(j.created_at / 1000, 'unixepoch') AS created,
    datetime(p.finished_at / 1000, 'unixepoch') AS finished, j.targets, p.planned, p.queued, p.leased, p.accepted,
    p.running, p.succeeded, p.failed, p.timed_out, p.cancelled, p.expired, p.rejected, p.lost
  FROM job j JOIN progress p ON p.job = j.n WHERE j.visible = 1;

CREATE VIEW hosts AS
  SELECT h.id, h.incarnation, h.revoked, h.labels, s.epoch AS session, s.gateway, s.transport,
    datetime(s.since / 1000, 'unixepoch') AS since, s.agent_version, s.generation,
    datetime(s.duplicate_since / 1000, 'unixepoch') AS duplicate_since
  FROM host h LEFT JOIN session s ON s.host = h.n WHERE h.deleted = 0;
