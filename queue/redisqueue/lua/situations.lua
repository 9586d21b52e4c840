-- situations.lua: reads executions of one job with their hosts, and what is in flight or comes first there.
-- flags=no-writes
--
-- KEYS: 1 d, 2 own, 3 hosts, 4 facts, 5 ses, 6 gw, 7 expiry, 8.. q:<host> of each host given
-- ARGV: 1 clock offset, 2 job, 3.. host
-- Returns: now, gw as name, until, ...; then for each { record, own, host, facts, ses (false if none), flying, held, ahead,
--   first }; held and first are { job, state, since } or false

local d, id = KEYS[1], ARGV[2]
local t = call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1]
local fixed = call('HGET', d, 's' .. id)
if not fixed then return { now, {} } end
fixed = { unmsg(fixed) }
local lane, prefix = fixed[S_LANE], 'q' .. fixed[S_LANE] .. '\0'
local place = prefix .. string.char(100 - fixed[S_PRIO]) .. struct.pack('>I8', fixed[S_CREATED]) .. id
-- Whether there may be executions past their time, which no sweep has taken out of their queues yet: then each is looked at.
local late = call('ZCOUNT', KEYS[7], '-inf', now) > 0

-- Those of a host that aren't past their time; names are members of its queue.
local function deliverable(host, names)
  if not late or #names == 0 then return names end
  local fields, list = {}, {}
  for i = 1, #names do fields[i] = host .. '/' .. names[i]:sub(-26) end
  for i, v in ipairs(call('HMGET', d, unpack(fields))) do
    local f = v and record_of(v)
    if f and f[STATE] == 'q' and f[UNTIL] > now then push(list, names[i]) end
  end
  return list
end

-- How many come before the execution, and the first of them; as members of the queue that are due.
local function ahead(host, q)
  local woken = {} -- due, and not swept since: they wait at the queue's end
  for _, m in ipairs(call('ZRANGEBYLEX', q, '[w', '(w' .. struct.pack('>I8', now + 1), 'LIMIT', 0, MAX_AHEAD)) do
    local is = m:sub(10)
    if is:sub(1, #prefix) == prefix and before(is, place) then push(woken, is) end
  end
  woken = deliverable(host, woken)
  local n, first, from = #woken, nil, '[' .. prefix
  for _, m in ipairs(woken) do
    if not first or before(m, first) then first = m end
  end
  local function look(list)
    if list[1] and (not first or before(list[1], first)) then first = list[1] end
  end
  if not late then
    look(call('ZRANGEBYLEX', q, from, '(' .. place, 'LIMIT', 0, 1))
    return n + call('ZLEXCOUNT', q, from, '(' .. place), first
  end
  local looked = 0
  while n < MAX_AHEAD do
    if looked >= MAX_AHEAD then -- so much that is past its time: until it is swept, the rest counts as it is
      look(call('ZRANGEBYLEX', q, from, '(' .. place, 'LIMIT', 0, 1))
      return n + call('ZLEXCOUNT', q, from, '(' .. place), first
    end
    local page = call('ZRANGEBYLEX', q, from, '(' .. place, 'LIMIT', 0, 250)
    local list = deliverable(host, page)
    look(list)
    n = n + #list
    if #page < 250 then break end
    looked = looked + 250
    from = '(' .. page[250]
  end
  return n, first
end

local function blocker(host, job)
  local v = call('HGET', d, host .. '/' .. job)
  if not v then return false end
  local f = record_of(v)
  local since = ({ q = f[RELEASED], l = f[LEASED], a = f[ACCEPTED], r = f[STARTED] })[f[STATE]]
  return since and { job, f[STATE], since }, f[LEASED]
end

local reply = { now, call('HGETALL', KEYS[6]) }
for i = 3, #ARGV do
  local host = ARGV[i]
  local v = call('HGET', d, host .. '/' .. id)
  local own, flies, held, at = call('HGET', KEYS[2], host), 0, false, 0
  local list = own and ({ unmsg(own) })[O_FLYING] or {}
  for n = 1, #list, 2 do
    if list[n + 1] == lane and list[n] ~= id then
      local b, leased = blocker(host, list[n])
      flies = flies + 1
      if b and (not held or leased < at) then held, at = b, leased end
    end
  end
  local n, first = 0, nil
  local f = v and record_of(v)
  if f and f[STATE] == 'q' and f[UNTIL] > now and (f[WAIT] == 0 or fixed[S_NOTBEFORE] <= now) then
    n, first = ahead(host, KEYS[5 + i])
  end
  push(reply, { v, own, call('HGET', KEYS[3], host), call('HGET', KEYS[4], host), call('HGET', KEYS[5], host), flies, held,
    math.min(n, MAX_AHEAD), first and blocker(host, first:sub(-26)) })
end
return reply
