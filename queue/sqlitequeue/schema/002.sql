-- rexgate's embedded store, schema 2: what jobs ask for where a host is offline,
-- where a newer job comes, and where labels have changed.

ALTER TABLE job ADD COLUMN offline TEXT NOT NULL DEFAULT 'wait'; -- or skip
ALTER TABLE job ADD COLUMN recheck TEXT NOT NULL DEFAULT '';     -- a selector
ALTER TABLE job ADD COLUMN supersede_key INTEGER;                -- n of its key; NULL = none
CREATE INDEX job_supersede_key ON job (supersede_key) WHERE supersede_key IS NOT NULL;

-- A key is its operator's alone. It goes with the last of its jobs.
CREATE TABLE supersede_key (
  n        INTEGER PRIMARY KEY,
  operator TEXT NOT NULL,
  key      TEXT NOT NULL,
  UNIQUE (operator, key)
);

-- The newest job of a key that was released on a host. It goes with its job.
CREATE TABLE newest (
  supersede_key INTEGER NOT NULL,
  host          INTEGER NOT NULL,
  job           INTEGER NOT NULL,
  PRIMARY KEY (supersede_key, host)
) WITHOUT ROWID;

-- Until when a host counts as online where jobs skip those that are offline, in
-- service time: an outage makes nobody offline.
ALTER TABLE gateway ADD COLUMN alive_service INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN due_service INTEGER; -- a poll; NULL for a socket
UPDATE gateway SET alive_service = coalesce((SELECT value FROM meta WHERE key = 'service_ms'), 0)
  + max(0, alive_until - coalesce((SELECT value FROM meta WHERE key = 'service_last'), 0));
UPDATE session SET due_service = coalesce((SELECT value FROM meta WHERE key = 'service_ms'), 0)
  + max(0, due_at - coalesce((SELECT value FROM meta WHERE key = 'service_last'), 0)) WHERE due_at IS NOT NULL;

CREATE VIEW newest_jobs AS
  SELECT k.operator, k.key, h.id AS host, j.id AS job
  FROM newest n JOIN supersede_key k ON k.n = n.supersede_key JOIN host h ON h.n = n.host JOIN job j ON j.n = n.job;
