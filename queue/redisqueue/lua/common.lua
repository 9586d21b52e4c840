-- common.lua: what the functions of a partition share: its keys, its clocks, and
-- the jobs that a call meets. Go makes one library of all files here, by the order in
-- script.go; each verb's file is the body of one function.
--
-- KEYS: 1 d, 2 own, 3 lease, 4 expiry, 5 delayed, 6 ready,
--       then those that the verb's own header names. All are in one slot.
-- ARGV: 1 the offset of the store's clock in microseconds (0 but in tests); then the verb's own.
--
-- A call reads and decides first, and writes at its end, in finish(): whatever fails
-- before leaves nothing behind. Per key, what adds comes before what removes,
-- and nothing touches a key after that: in a migrating slot a key that vanished
-- would be looked for on the other node.
--
-- What is kept between calls is code, and text of numbers: begin() makes all else anew.
--
-- Before this text Go puts the constants SHARD, MAX_TICK, LEASE_TTL, MAX_COUNT, ... and WHY_*.

-- What Redis gives a function is there once it runs, not while the library is loaded.
local call, pack, unmsg, unmsg_first, floor
local function enter()
  if not call then
    call, pack, unmsg, unmsg_first, floor = redis.call, cmsgpack.pack, cmsgpack.unpack, cmsgpack.unpack_limit, math.floor
  end
end

-- Records, hosts and jobs are kept as MessagePack values one after the other, with no array
-- around them: Lua reads them into locals, or into a table of the right size, for half of the cost.

-- Fields of a record in d, in the order in which an execution comes to have them: one that is
-- queued ends with UNTIL, and what follows is as in BLANK. Times are microseconds, 0 = not yet.
-- record.go has the same list.
local STATE, IDX, INC, WAIT, RELEASED, UNTIL, LEASED, DELIVERIES, MSG, SESSION, TOKEN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local ACCEPTED, GEN, POS, STORED, STARTED, FINISHED, EXIT, SIGNAL, REASON, AT = 12, 13, 14, 15, 16, 17, 18, 19, 20, 21
local OUT, ERR, INLINE, CANCELLED, WHY, CANCELMSG, DROPPED, GAP, DELETED, SEGS, LATE = 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32
local BLANK = { 'p', 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, '', 0, 0, 0, 0, 0, '', '', 0, 0, 0, '', 0, '', 0, 0, 0, 0, 0, 0 }

-- Fields of a job in a partition: fixed ("s<job>" in d) and moving ("c<job>").
-- The last three of the fixed are there only for a job with a policy: see policy.lua.
local S_ATTEMPT, S_CREATED, S_LANE, S_PRIO, S_NOTBEFORE, S_PICKUP, S_SILENCE, S_COUNT, S_BOUND = 1, 2, 3, 4, 5, 6, 7, 8, 9
local S_SKIP, S_SCOPE, S_RECHECK = 10, 11, 12
-- C_LIMIT is there only where a failover lost something: until when its executions may be delivered at most, however late
-- they are released, since hosts keep their records no longer than that.
local C_CURSOR, C_CONTROL, C_WHY, C_AT, C_LAST, C_OUT, C_REC, C_COUNTS, C_LIMIT = 1, 2, 3, 4, 5, 6, 7, 8, 9
local INDEX = { p = 1, q = 2, l = 3, a = 4, r = 5, s = 6, f = 7, t = 8, c = 9, e = 10, j = 11, x = 12 }

-- Fields of a host in own: what delivering needs; and in ses: the rest of its session. O_UNTIL, there for a poll only, is O_DUE
-- in service time.
local O_INC, O_REVOKED, O_DELETED, O_DUP, O_EPOCH, O_ACTIVE, O_GATEWAY, O_TRANSPORT = 1, 2, 3, 4, 5, 6, 7, 8
local O_DUE, O_N, O_BASE, O_SENT, O_CANCELMSG, O_SLOTS, O_FLYING, O_UNTIL = 9, 10, 11, 12, 13, 14, 15, 16
local E_SINCE, E_GEN, E_NONCE, E_BOOT, E_AGENT, E_PAST = 1, 2, 3, 4, 5, 6

local ARROWS = {
  p = { q = 1, c = 1, e = 1 },
  q = { l = 1, c = 1, e = 1 },
  l = { q = 1, a = 1, j = 1, c = 1, e = 1 },
  a = { r = 1, s = 1, f = 1, t = 1, c = 1, j = 1, x = 1 },
  r = { s = 1, f = 1, t = 1, c = 1, x = 1 },
}
local FLIES = { l = true, a = true, r = true }

-- A record as it is stored ends with the last field that it came to have.
local RECORD = {
  __index = BLANK,
  __newindex = function(f, n, v)
    for i = #f + 1, n - 1 do rawset(f, i, BLANK[i]) end
    rawset(f, n, v)
  end,
}
local function record_of(v) return setmetatable({ unmsg(v) }, RECORD) end
local function packed(f) return pack(unpack(f)) end
-- Gives a record its fields up to n at once.
local function grow(f, n)
  for i = #f + 1, n do rawset(f, i, BLANK[i]) end
end

local KEYS, ARGV, now, service
local K_D, K_OWN, K_LEASE, K_EXPIRY, K_DELAYED, K_READY
local jobs, hosts, own_read, pages, xs, d_read, changed, gateways

-- What finish() writes besides records, queues and hosts: arguments of ZADD and of
-- ZREM for each zset, and whole commands.
local leases, unleases, expiries, unexpiries, delays, undelays, readies, unreadies, later
local d_set, own_set, q_adds, q_dels, hints -- and fields of d, of own; queue, member, ...; gateway, host, ...
local texts -- of numbers, see text_of

local function begin(keys, args)
  enter()
  KEYS, ARGV = keys, args
  K_D, K_OWN, K_LEASE, K_EXPIRY, K_DELAYED, K_READY = keys[1], keys[2], keys[3], keys[4], keys[5], keys[6]
  jobs, hosts, own_read, pages, xs, d_read, changed, later = {}, {}, {}, {}, {}, {}, {}, {}
  leases, unleases, expiries, unexpiries, delays, undelays, readies, unreadies = {}, {}, {}, {}, {}, {}, {}, {}
  texts, d_set, own_set, q_adds, q_dels, hints, gateways = {}, {}, {}, {}, {}, {}, {}
  local t = call('TIME')
  now, service = t[1] * 1000000 + t[2] + args[1], nil
end

local function fail(code, text) return redis.error_reply('REX ' .. code .. ' ' .. text) end

-- Reads many fields of d at once, for what reads them later one by one.
local function read_ahead(fields)
  for i, v in ipairs(call('HMGET', K_D, unpack(fields))) do d_read[fields[i]] = v end
end
local function read(field)
  local v = d_read[field]
  if v == nil then v = call('HGET', K_D, field) end
  return v
end

-- Service time now, as queue.ServiceClock.At has it.
local function service_at(last, sum)
  last, sum = tonumber(last or 0), tonumber(sum or 0)
  if last == 0 or now < last then return sum end
  return sum + math.min(now - last, MAX_TICK)
end
local function service_now()
  if not service then service = service_at(read('last'), read('service')) end
  return service
end

-- Runs a command with as many arguments as Lua can hand over at a time.
local function send(command, key, args)
  local n = #args
  if n == 0 then return end
  if n <= 4000 then return call(command, key, unpack(args)) end
  for i = 1, n, 4000 do call(command, key, unpack(args, i, math.min(i + 3999, n))) end
end
local function push(t, a, b)
  local n = #t
  t[n + 1] = a
  if b ~= nil then t[n + 2] = b end
end
-- Numbers as text: Redis makes it of them slowly, and most are the same.
local function text_of(n)
  local s = texts[n]
  if not s then
    s = string.format('%.0f', n)
    texts[n] = s
  end
  return s
end
-- Has finish() run a command after all else, on a key that no other kind of command writes.
local function after(command, key, ...)
  local w = later[key]
  if not w then
    w = { command, key, {} }
    later[key], later[#later + 1] = w, w
  end
  for i = 1, select('#', ...) do w[3][#w[3] + 1] = (select(i, ...)) end
end

-- Jobs of this partition.

local function job(id)
  local j = jobs[id]
  if j == nil then
    local fixed = read('s' .. id)
    local moving = fixed and read('c' .. id)
    j = moving and { id = id, s = { unmsg(fixed) }, c = { unmsg(moving) }, shards = {}, idx = {}, to = {}, changed = false, queued = false, waiting = false } or false
    jobs[id] = j
  end
  return j
end
-- What stands for an execution of the job in a host's queue: "q" queued, "w" waiting for
-- not_before, then what orders it: lane, priority, age.
local function place(j, wait)
  if not j.queued then
    local s = j.s
    j.queued = 'q' .. s[S_LANE] .. '\0' .. string.char(100 - s[S_PRIO]) .. struct.pack('>I8', s[S_CREATED]) .. j.id
    j.waiting = 'w' .. struct.pack('>I8', s[S_NOTBEFORE]) .. j.queued
  end
  return wait == 1 and j.waiting or j.queued
end

-- The state byte of the target at idx (from 0); states are kept in shards of
-- SHARD bytes, so that a transition rewrites and logs little.
local suffixes = {} -- of their fields; kept between calls, since making text of numbers is slow
local function shard_name(j, n)
  local s = suffixes[n]
  if not s then
    s = ':' .. n
    suffixes[n] = s
  end
  return j.id .. s
end
local function shard(j, n)
  local s = j.shards[n]
  if not s then
    s = call('HGET', K_D, shard_name(j, n)) or ''
    j.shards[n] = s
  end
  return s
end
local function state_of(j, idx)
  local n = floor(idx / SHARD)
  local at = idx - n * SHARD + 1
  return shard(j, n):sub(at, at)
end
-- Counts an execution of the job from one state to another.
local function count(j, from, to, n)
  local counts = j.c[C_COUNTS]
  counts[INDEX[from]] = counts[INDEX[from]] - (n or 1)
  counts[INDEX[to]] = counts[INDEX[to]] + (n or 1)
  j.changed = true
end
-- What finish() is to write; each idx once.
local function set_state(j, idx, state)
  local n = #j.idx + 1
  j.idx[n], j.to[n] = idx, state
end
-- Reads at once the shards that are to change.
local function read_shards()
  local names, js, ns, k = {}, {}, {}, 0
  for _, j in pairs(jobs) do
    if j then
      local shards = j.shards
      for i = 1, #j.idx do
        local n = floor(j.idx[i] / SHARD)
        if shards[n] == nil then
          k, shards[n] = k + 1, false
          names[k], js[k], ns[k] = shard_name(j, n), j, n
        end
      end
    end
  end
  if k == 0 then return end
  local v = call('HMGET', K_D, unpack(names))
  for i = 1, k do js[i].shards[ns[i]] = v[i] or '' end
end
-- Adds to fields and values what has changed of the jobs: states in runs of one
-- idx after the other, which expanding makes.
local function job_writes(set)
  read_shards()
  for id, j in pairs(jobs) do
    if j then
      local idx, to, shards, written, i, count = j.idx, j.to, j.shards, {}, 1, #j.idx
      while i <= count do
        local n, last = floor(idx[i] / SHARD), i
        while last < count and idx[last + 1] == idx[last] + 1 and floor(idx[last + 1] / SHARD) == n do last = last + 1 end
        local s, at = shards[n], idx[i] - n * SHARD
        shards[n] = s:sub(1, at) .. (last == i and to[i] or table.concat(to, '', i, last)) .. s:sub(at + last - i + 2)
        written[n], i = true, last + 1
      end
      for n in pairs(written) do push(set, shard_name(j, n), shards[n]) end
      if j.changed then push(set, 'c' .. id, packed(j.c)) end
    end
  end
end
