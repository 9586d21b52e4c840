-- execution.lua: follows common.lua; an execution's arrows, as queue.Held has
-- them, and finish(), which writes what they changed.

-- Executions.

local xs, x_read = {}, {}
local function load(jobid, h)
  local key = h.id .. '/' .. jobid
  local x = xs[key]
  if x == nil then
    local j, v = job(jobid), x_read[key]
    if v == nil then v = call('HGET', K_X, key) end
    x = j and v and { f = unmsg(v), j = j, h = h, key = key, size = #v } or false
    xs[key] = x
  end
  return x
end
-- Reads many records at once; load() makes them.
local function read_records(keys)
  for i, v in ipairs(call('HMGET', K_X, unpack(keys))) do x_read[keys[i]] = v end
end
local function fresh(j, h, idx, inc)
  local x = { j = j, h = h, key = h.id .. '/' .. j.id, size = -#(h.id .. j.id), changed = true }
  x.f = { 'p', idx, inc, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, '', 0, 0, '', 0, 0, 0, 0, '', '', 0, 0, 0, 0, 0, 0, 0, '', 0 }
  xs[x.key] = x
  return x
end

-- The member of the host's queue that stands for the execution: "1" in flight,
-- "2" queued, "3" waiting for not_before, then what orders it: lane, priority,
-- age. nil if it is planned or has ended.
local function member(x)
  local state, s = x.f[STATE], x.j.s
  if state == 'p' or not ARROWS[state] then return nil end
  if not x.suffix then
    x.suffix = s[S_LANE] .. '\0' .. string.char(100 - s[S_PRIO]) .. struct.pack('>I8', s[S_CREATED]) .. x.j.id
  end
  if state ~= 'q' then return '1' .. x.suffix end
  if x.f[WAIT] == 1 then return '3' .. struct.pack('>I8', s[S_NOTBEFORE]) .. x.suffix end
  return '2' .. x.suffix
end

-- Moves the execution along an arrow, with all that hangs on its state: the
-- counters, the state byte, its place in the host's queue.
local function move(x, to, wait)
  local from, c, h = x.f[STATE], x.j.c, x.h
  if from ~= to and not (ARROWS[from] and ARROWS[from][to]) then error('no arrow from ' .. from .. ' to ' .. to) end
  local before = member(x)
  x.f[STATE], x.f[WAIT] = to, wait or 0
  local after = member(x)
  if before ~= after then
    if before then
      drop(h.q, 'zset', before)
      if h.inf then h.inf[before] = nil end
    end
    if after then
      put(h.q, 'zset', after, 0)
      if h.inf and after:sub(1, 1) == '1' then h.inf[after] = true end
    end
  end
  if from ~= to then
    c[C_COUNTS][INDEX[from]] = c[C_COUNTS][INDEX[from]] - 1
    c[C_COUNTS][INDEX[to]] = c[C_COUNTS][INDEX[to]] + 1
    set_state(x.j, x.f[IDX], to)
  end
  x.changed, x.j.changed, h.touched = true, true, true
end

-- Ends the execution; what only a living one needs is cleared.
local function ended(x, to, exit, signal, reason, at)
  local f = x.f
  local from = f[STATE]
  if from == 'q' or from == 'l' then drop(K_EXPIRY, 'zset', x.key) end
  if f[WAIT] == 1 then drop(K_DELAYED, 'zset', x.key) end
  if from == 'l' or from == 'a' or from == 'r' then
    drop(K_LEASE, 'zset', x.key)
    x.h.hint = true -- a slot is free
  end
  move(x, to)
  f[EXIT], f[SIGNAL], f[REASON], f[AT], f[FINISHED] = exit, signal, reason, at, now
  f[TOKEN], f[MSG], f[SESSION], f[CANCELMSG] = '', 0, 0, 0
  if now > x.j.c[C_LAST] then x.j.c[C_LAST] = now end
end

-- queue.Held.EndLease: an unaccepted lease is taken back.
local function end_lease(x)
  local f = x.f
  if f[CANCELLED] ~= 0 then
    ended(x, 'c', -1, '', f[WHY], now)
  elseif now >= f[UNTIL] then
    ended(x, 'e', -1, '', WHY_EXPIRED, now)
  else
    drop(K_LEASE, 'zset', x.key)
    f[MSG], f[SESSION] = 0, 0
    move(x, 'q')
    x.h.hint = true
  end
end

-- queue.Held.Void: the incarnation is no longer the host's.
local function void(x)
  local to = (x.f[STATE] == 'a' or x.f[STATE] == 'r') and 'x' or 'c'
  ended(x, to, -1, '', WHY_REENROLLED, now)
end

-- queue.Held.Cancel: ends what isn't delivered, flags what is. Gives 'c' if it
-- ended, 'a' if it was flagged. A host that has accepted it gets a message.
local function cancel(x, why)
  local f = x.f
  local state = f[STATE]
  if not ARROWS[state] or f[CANCELLED] ~= 0 then return nil end
  f[CANCELLED], f[WHY], x.changed = now, why, true
  if state == 'p' or state == 'q' then
    ended(x, 'c', -1, '', why, now)
    return 'c'
  end
  if state == 'l' then return 'a' end
  local o = x.h.o
  if o then
    o[O_N] = o[O_N] + 1
    f[CANCELMSG], o[O_CANCELMSG] = o[O_N], o[O_N]
    x.h.changed, x.h.touched, x.h.hint = true, true, true
  end
  return 'a'
end

-- Writes everything; gives the hints to send: gateway, host, ... A host that is
-- ready and has news gets one; h.tell names a gateway that gets one anyway.
local function finish()
  for _, x in pairs(xs) do
    if x and x.changed then
      local v, c = x.packed or pack(x.f), x.j.c
      c[C_REC], x.j.changed = c[C_REC] + #v - x.size, true
      put(K_X, 'hash', x.key, v)
    end
  end
  for id, j in pairs(jobs) do
    if j then put_states(j) end
    if j and j.changed then put(K_JS, 'hash', 'c' .. id, pack(j.c)) end
  end
  local hints = {}
  for id, h in pairs(hosts) do
    local o = h.o
    if o and h.changed then put(K_OWN, 'hash', id, pack(o)) end
    if h.tell then
      hints[#hints + 1] = h.tell
      hints[#hints + 1] = id
    end
    if o and h.touched and o[O_GATEWAY] ~= '' then
      local name = o[O_GATEWAY] .. '\0' .. id
      if is_ready(h) then
        put(K_READY, 'zset', name, 0)
        if h.hint then
          hints[#hints + 1] = o[O_GATEWAY]
          hints[#hints + 1] = id
        end
      else
        drop(K_READY, 'zset', name)
      end
    end
  end
  flush()
  return hints
end

local function fail(code, text) return redis.error_reply('REX ' .. code .. ' ' .. text) end

-- The scripts of the busy verbs (claim, release, lease, record) take calls for
-- several hosts, none twice: ARGV 2.. are packed calls whose first field is the host,
-- the second how many keys of the call's own follow in KEYS. The answer is
-- { answer of each }, hints; one that failed is "fail", code, text.
local function every(one)
  local calls, names, replies, at = {}, {}, {}, 11
  for i = 2, #ARGV do
    calls[i - 1] = unmsg(ARGV[i])
    names[i - 1] = calls[i - 1][1]
  end
  read_hosts(names)
  for i, c in ipairs(calls) do
    replies[i] = one(c, host(c[1], KEYS[at]), at)
    at = at + c[2]
  end
  return { replies, finish() }
end
