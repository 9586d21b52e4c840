-- execution.lua: follows host.lua; an execution's arrows, as queue.Held has them,
-- and finish(), which writes what they changed.
--
-- Where an execution stands besides its record follows from its state: in the host's queue and in
-- expiry while it is queued (in delayed too while it waits for not_before), in O_FLYING and
-- in lease while it is in flight. finish() compares the state at first with that at last.

local function execution(j, h, key, f, size)
  return { j = j, h = h, key = key, f = f, size = size, was = f[STATE], waited = f[WAIT], deadline = false, packed = false, changed = false }
end
local function load(jobid, h)
  local key = h.id .. '/' .. jobid
  local x = xs[key]
  if x == nil then
    local v = read(key)
    local j = v and job(jobid)
    x = j and execution(j, h, key, record_of(v), #v) or false
    xs[key] = x
  end
  return x
end
local function fresh(j, h, idx, inc)
  local key = h.id .. '/' .. j.id
  local x = execution(j, h, key, setmetatable({ 'p', idx, inc, 0, 0, 0 }, RECORD), 1 - #key)
  xs[key] = x
  return x
end

-- Has finish() write the execution.
local function touch(x)
  if not x.changed then
    x.changed = true
    changed[#changed + 1] = x
  end
end

-- Moves the execution along an arrow. deadline is the new end of its lease, or of silence.
local function move(x, to, wait, deadline)
  local f, h = x.f, x.h
  local from = f[STATE]
  if from ~= to and not (ARROWS[from] and ARROWS[from][to]) then error('no arrow from ' .. from .. ' to ' .. to) end
  f[STATE], f[WAIT] = to, wait
  x.deadline = deadline or false
  if FLIES[from] ~= FLIES[to] then
    if FLIES[to] then take_off(h, x.j.id, x.j.s[S_LANE]) else land(h, x.j.id) end
  end
  touch(x)
end

-- Ends the execution; what only a living one needs is cleared.
local function ended(x, to, exit, signal, reason, at)
  local f = x.f
  if FLIES[f[STATE]] then x.h.hint = true end -- a slot is free
  move(x, to, 0)
  grow(f, AT)
  f[EXIT], f[SIGNAL], f[REASON], f[AT], f[FINISHED] = exit, signal, reason, at, now
  f[TOKEN], f[MSG], f[SESSION] = '', 0, 0
  if f[CANCELMSG] ~= 0 then f[CANCELMSG] = 0 end
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
    f[MSG], f[SESSION] = 0, 0
    move(x, 'q', 0)
    x.h.hint = true
  end
end

-- Takes back all leases of a host that weren't accepted.
local function unlease(h)
  for _, id in ipairs(flying(h)) do
    local x = load(id, h)
    if x and x.f[STATE] == 'l' then end_lease(x) end
  end
end

-- queue.Held.Void: the incarnation is no longer the host's.
local function void(x)
  local to = (x.f[STATE] == 'a' or x.f[STATE] == 'r') and 'x' or 'c'
  ended(x, to, -1, '', WHY_REENROLLED, now)
end

-- Ends what a host of old had in flight, and of its queue up to n, from a member on ('' = from the
-- first). Gives how many have ended, and the member to go on after, '' at the end.
local function void_all(h, from, n)
  local o, ends, m = h.o, 0, ''
  local function old(x) return not o or o[O_DELETED] == 1 or o[O_REVOKED] == 1 or x.f[INC] ~= o[O_INC] end
  for _, id in ipairs(flying(h)) do
    local x = load(id, h)
    if not (x and FLIES[x.f[STATE]]) then
      land(h, id)
    elseif old(x) then
      void(x)
      ends = ends + 1
    end
  end
  local list, keys = call('ZRANGEBYLEX', h.q, from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, n), {}
  for i = 1, #list do keys[i] = h.id .. '/' .. list[i]:sub(-26) end
  if #keys > 0 then read_ahead(keys) end
  for i = 1, #list do
    m = list[i]
    local x = load(m:sub(-26), h)
    if not (x and x.f[STATE] == 'q') then
      alter(h, 'del', m)
    elseif old(x) then
      void(x)
      ends = ends + 1
    end
  end
  return ends, #list == n and m or ''
end

-- queue.Held.Cancel: ends what isn't delivered, flags what is. Gives 'c' if it
-- ended, 'a' if it was flagged. A host that has accepted it gets a message.
local function cancel(x, why)
  local f = x.f
  local state = f[STATE]
  if not ARROWS[state] or f[CANCELLED] ~= 0 then return nil end
  f[CANCELLED], f[WHY] = now, why
  touch(x)
  if state == 'p' or state == 'q' then
    ended(x, 'c', -1, '', why, now)
    return 'c'
  end
  if state == 'l' then return 'a' end
  local h, o = x.h, x.h.o
  if o then
    o[O_N] = o[O_N] + 1
    f[CANCELMSG], o[O_CANCELMSG] = o[O_N], o[O_N]
    h.changed, h.recheck, h.hint = true, true, true
  end
  return 'a'
end
