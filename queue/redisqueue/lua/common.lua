-- common.lua: the part that every script of a partition begins with. Go makes one
-- script of it, execution.lua and all verbs' files, each in its branch.
--
-- KEYS: 1 x, 2 js, 3 jb, 4 own, 5 lease, 6 expiry, 7 delayed, 8 ready, 9 clock, 10 gw,
--       then those that the script's own header names. All are in one slot.
-- ARGV: 1 the verb, a space, the offset of the store's clock in microseconds (0 but in tests);
--       then the script's own.
--
-- Writes are gathered in `dirty` and applied by finish(), so that whatever fails
-- before leaves nothing behind. Per key, what adds comes before what removes,
-- and nothing touches a key after that: in a migrating slot a key that vanished
-- would be looked for on the other node.
--
-- Before this text Go puts the constants SHARD, MAX_TICK, LEASE_TTL and WHY_*.

local call, pack, unmsg = redis.call, cmsgpack.pack, cmsgpack.unpack
local K_X, K_JS, K_JB, K_OWN, K_LEASE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local K_EXPIRY, K_DELAYED, K_READY, K_CLOCK, K_GW = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]

-- Fields of a record in x. Times are microseconds, 0 = not yet. record.go has the same list.
local STATE, IDX, INC, WAIT, RELEASED, UNTIL, LEASED, ACCEPTED, STARTED, FINISHED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local CANCELLED, WHY, DELIVERIES, GEN, POS, STORED, TOKEN, MSG, SESSION = 11, 12, 13, 14, 15, 16, 17, 18, 19
local CANCELMSG, EXIT, SIGNAL, REASON, AT, LATE = 20, 21, 22, 23, 24, 25
local OUT, ERR, DROPPED, GAP, DELETED, INLINE, SEGS = 26, 27, 28, 29, 30, 31, 32

-- Fields of a job in a partition: fixed ("s<job>" in js) and moving ("c<job>").
local S_ATTEMPT, S_CREATED, S_LANE, S_PRIO, S_NOTBEFORE, S_PICKUP, S_SILENCE, S_COUNT = 1, 2, 3, 4, 5, 6, 7, 8
local C_CURSOR, C_CONTROL, C_WHY, C_AT, C_LAST, C_OUT, C_REC, C_COUNTS = 1, 2, 3, 4, 5, 6, 7, 8
local INDEX = { p = 1, q = 2, l = 3, a = 4, r = 5, s = 6, f = 7, t = 8, c = 9, e = 10, j = 11, x = 12 }

-- Fields of a host in own.
local O_INC, O_REVOKED, O_DELETED, O_DUP, O_EPOCH, O_ACTIVE, O_GATEWAY, O_TRANSPORT, O_SINCE, O_DUE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local O_N, O_BASE, O_SENT, O_CANCELMSG, O_GEN, O_NONCE, O_BOOT, O_AGENT, O_SLOTS, O_PAST = 11, 12, 13, 14, 15, 16, 17, 18, 19, 20

local ARROWS = {
  p = { q = 1, c = 1, e = 1 },
  q = { l = 1, c = 1, e = 1 },
  l = { q = 1, a = 1, j = 1, c = 1, e = 1 },
  a = { r = 1, s = 1, f = 1, t = 1, c = 1, j = 1, x = 1 },
  r = { s = 1, f = 1, t = 1, c = 1, x = 1 },
}

local TIME = call('TIME')
local VERB, OFFSET = ARGV[1]:match('^(%a+) (%-?%d+)$')
local now = TIME[1] * 1000000 + TIME[2] + OFFSET

-- Service time now, as queue.ServiceClock.At has it.
local function service_at(last, service)
  last, service = tonumber(last or 0), tonumber(service or 0)
  if last == 0 or now < last then return service end
  return service + math.min(now - last, MAX_TICK)
end
local service_memo
local function service_now()
  if not service_memo then
    local c = call('HMGET', K_CLOCK, 'last', 'service')
    service_memo = service_at(c[1], c[2])
  end
  return service_memo
end

local dirty = {} -- key -> { kind, set, del }
local function buffer(key, kind)
  local b = dirty[key]
  if not b then
    b = { kind = kind, set = {}, del = {} }
    dirty[key] = b
  end
  return b
end
local function put(key, kind, name, value)
  local b = buffer(key, kind)
  b.set[name], b.del[name] = value, nil
end
local function drop(key, kind, name)
  local b = buffer(key, kind)
  b.set[name], b.del[name] = nil, true
end
local function append(key, value)
  local b = buffer(key, 'list')
  b.set[#b.set + 1] = value
end

-- Runs a command with as many arguments as Lua can hand over at a time.
local function send(command, key, args)
  for i = 1, #args, 4000 do call(command, key, unpack(args, i, math.min(i + 3999, #args))) end
end
local function flush()
  for key, b in pairs(dirty) do
    local args = {}
    if b.kind == 'list' then
      send('RPUSH', key, b.set)
    elseif b.kind == 'hash' then
      for f, v in pairs(b.set) do
        args[#args + 1] = f
        args[#args + 1] = v
      end
      send('HSET', key, args)
    else
      for m, s in pairs(b.set) do
        args[#args + 1] = s
        args[#args + 1] = m
      end
      send('ZADD', key, args)
    end
    args = {}
    for m in pairs(b.del) do args[#args + 1] = m end
    send(b.kind == 'hash' and 'HDEL' or 'ZREM', key, args)
  end
end

-- Jobs of this partition.

local jobs = {}
local function job(id)
  local j = jobs[id]
  if j == nil then
    local v = call('HMGET', K_JS, 's' .. id, 'c' .. id)
    j = v[1] and v[2] and { id = id, s = unmsg(v[1]), c = unmsg(v[2]), shards = {}, moves = {} } or false
    jobs[id] = j
  end
  return j
end

-- The state byte of the target at idx (from 0); states are kept in shards of
-- SHARD bytes, so that a transition rewrites and logs little. j.moves has what
-- is to change, by shard.
local function shard(j, n)
  local s = j.shards[n]
  if not s then
    s = call('HGET', K_JB, j.id .. ':' .. n) or ''
    j.shards[n] = s
  end
  return s
end
local function state_of(j, idx)
  local n = math.floor(idx / SHARD)
  local at = idx - n * SHARD + 1
  return j.moves[n] and j.moves[n][at] or shard(j, n):sub(at, at)
end
local function set_state(j, idx, state)
  local n = math.floor(idx / SHARD)
  local m = j.moves[n]
  if not m then
    m = {}
    j.moves[n] = m
  end
  m[idx - n * SHARD + 1] = state
end
local function put_states(j)
  for n, changes in pairs(j.moves) do
    local s = shard(j, n)
    local at, state = next(changes)
    if next(changes, at) == nil then
      s = s:sub(1, at - 1) .. state .. s:sub(at + 1)
    else
      local t = { s:byte(1, -1) }
      for i, c in pairs(changes) do t[i] = c:byte() end
      s = string.char(unpack(t))
    end
    put(K_JB, 'hash', j.id .. ':' .. n, s)
  end
end

-- Hosts.

local function lane_of(member) return member:sub(2, member:find('\0', 2, true) - 1) end

local hosts, own_read = {}, {}
local function host(id, qkey)
  local h = hosts[id]
  if not h then
    local packed = own_read[id]
    if packed == nil then packed = call('HGET', K_OWN, id) end
    h = { id = id, q = qkey, o = packed and unmsg(packed) or false }
    hosts[id] = h
  end
  return h
end
-- Reads many hosts at once; host() makes them.
local function read_hosts(names)
  for i, v in ipairs(call('HMGET', K_OWN, unpack(names))) do own_read[names[i]] = v end
end

-- Calls fn for the members of a host's queue, in order, but for those that are
-- being taken out. fn gives 'stop', or 'lane' to skip the rest of the member's lane.
local PAGE = 32
local function walk(h, fn)
  local b = dirty[h.q]
  local del = b and b.del
  h.first = h.first or call('ZRANGEBYLEX', h.q, '-', '+', 'LIMIT', 0, PAGE)
  local list, skip = h.first, nil
  while true do
    for i = 1, #list do
      local m = list[i]
      if skip and m:sub(1, #skip) ~= skip then skip = nil end
      if not skip and not (del and del[m]) then
        local what = fn(m, m:byte(1) - 48)
        if what == 'stop' then return end
        if what == 'lane' then skip = m:sub(1, m:find('\0', 2, true)) end
      end
    end
    if #list < PAGE then return end
    local from = skip and skip:sub(1, -2) .. '\1' or list[PAGE]
    list = call('ZRANGEBYLEX', h.q, '(' .. from, '+', 'LIMIT', 0, PAGE)
  end
end

-- The members of a host's queue that are in flight, as a set that move() keeps.
local function inflight(h)
  if not h.inf then
    local inf = {}
    walk(h, function(m, class)
      if class > 1 then return 'stop' end
      inf[m] = true
    end)
    local b = dirty[h.q]
    if b then
      for m in pairs(b.set) do
        if m:byte(1) == 49 then inf[m] = true end
      end
    end
    h.inf = inf
  end
  return h.inf
end
local function used_slots(h)
  local used = {}
  for m in pairs(inflight(h)) do
    local lane = lane_of(m)
    used[lane] = (used[lane] or 0) + 1
  end
  return used
end
local function slots_in(h, lane) return h.o[O_SLOTS][lane] or 1 end

local function serves(h)
  local o = h.o
  return o and o[O_ACTIVE] == 1 and o[O_DUP] == 0 and o[O_REVOKED] == 0
end

-- Whether a Lease for the host would give something.
local function is_ready(h)
  if not serves(h) then return false end
  if h.o[O_CANCELMSG] > h.o[O_SENT] then return true end
  local used, b, found = used_slots(h), dirty[h.q], false
  local function free(m)
    local lane = lane_of(m)
    return slots_in(h, lane) > (used[lane] or 0)
  end
  if b then
    for m in pairs(b.set) do
      if m:byte(1) == 50 and free(m) then return true end
    end
  end
  walk(h, function(m, class)
    if class == 1 then return nil end
    if class == 3 then return 'stop' end
    found = free(m)
    return found and 'stop' or 'lane'
  end)
  return found
end
