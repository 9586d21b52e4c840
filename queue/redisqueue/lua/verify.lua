-- verify.lua: holds state bytes, queues, slots, deadlines and the newest of its scope of a job against its
-- records, or its counters against the state bytes, and repairs what differs.
--
-- KEYS: 7.. q:<host> of each target given
-- ARGV: 2 job, then index, host, incarnation of each target; without targets: the counters
-- Returns: a line for each difference; none of a job that is being erased here, of which records may be missing

local lines, j = {}, job(ARGV[2])
if not j or read('e' .. j.id) then return lines end
local function say(text) lines[#lines + 1] = text end

if #ARGV == 2 then
  local counts = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  for n = 0, math.ceil(j.s[S_COUNT] / SHARD) - 1 do
    for state in shard(j, n):gmatch('.') do
      if INDEX[state] then counts[INDEX[state]] = counts[INDEX[state]] + 1 end
    end
  end
  for state, n in pairs(INDEX) do
    if counts[n] ~= j.c[C_COUNTS][n] then
      say('counter of ' .. state .. ' was ' .. j.c[C_COUNTS][n] .. ', it is ' .. counts[n])
      j.c[C_COUNTS][n], j.changed = counts[n], true
    end
  end
  finish()
  return lines
end

-- An entry that should or shouldn't be in a zset: adds and drops are finish()'s. exact if its score follows from the
-- record alone: that of a lease counts in service time from its last news.
local function hold(key, label, name, want, score, exact, who, adds, drops)
  local have = call('ZSCORE', key, name)
  if want and not have then
    say(who .. ': was missing in ' .. label)
    push(adds, text_of(score), name)
  elseif want and exact and tonumber(have) ~= score then
    say(who .. ': was in ' .. label .. ' at ' .. text_of(tonumber(have)) .. ', it is ' .. text_of(score))
    push(adds, text_of(score), name)
  elseif have and not want then
    say(who .. ': was left in ' .. label)
    push(drops, name)
  end
end

local function slot(h, id, lane, want)
  local have = false
  for _, other in ipairs(flying(h)) do have = have or other == id end
  if want and not have and h.o then
    say(h.id .. ': was in no slot')
    take_off(h, id, lane)
  elseif have and not want then
    say(h.id .. ': was left in a slot')
    land(h, id)
  end
end

-- What the host remembers as the newest job of this one's scope is to be one that was released there, and as new as this one,
-- if that was. Nothing is remembered once the newest was removed: only what still waits tells that none can have been.
local function newest(h, x)
  local function released(f) return f[RELEASED] ~= 0 or f[REASON] == WHY_OFFLINE end
  local field = h.id .. '/' .. scope_of(j)
  local have, own = read(field), x and released(x.f) and stamp(j)
  if have and have ~= own then
    local other = have:sub(9) ~= j.id and load(have:sub(9), h)
    if not other or not released(other.f) then
      say(h.id .. ': ' .. have:sub(9) .. ' was left as the newest of its scope')
      if own then push(d_set, field, own) else after('HDEL', K_D, field) end
      return
    end
  end
  local waits = own and (x.f[STATE] == 'q' or x.f[STATE] == 'l' and x.f[CANCELLED] == 0)
  if own and (have and before(have, own) or not have and waits) then
    say(h.id .. ': was missing as the newest of its scope')
    push(d_set, field, own)
  end
end

if scope_of(j) ~= '' then
  local names = {}
  for i = 4, #ARGV, 3 do push(names, ARGV[i]) end
  read_newest(j, names)
end
for i = 3, #ARGV, 3 do
  local idx, h = tonumber(ARGV[i]), host(ARGV[i + 1], KEYS[6 + i / 3])
  local x, byte = load(j.id, h), state_of(j, idx)
  if not x and idx < j.c[C_CURSOR] and byte ~= 'p' then
    say(h.id .. ': its record is missing')
    x = fresh(j, h, idx, tonumber(ARGV[i + 2]))
    x.f[STATE], x.was, x.waited = 'x', 'x', 0
    grow(x.f, AT)
    x.f[EXIT], x.f[REASON], x.f[AT], x.f[FINISHED] = -1, 'its record was lost', now, now
    touch(x)
  elseif not x and byte ~= 'p' then
    say(h.id .. ': state byte was ' .. byte .. ', it is planned')
    set_state(j, idx, 'p')
  end
  if x then
    local f, state = x.f, x.f[STATE]
    if byte ~= state then
      say(h.id .. ': state byte was ' .. byte .. ', it is ' .. state)
      set_state(j, idx, state)
    end
    for wait = 0, 1 do
      local m, want = place(j, wait), state == 'q' and f[WAIT] == wait
      local have = call('ZSCORE', h.q, m)
      if want and not have then say(h.id .. ': was missing in the queue') end
      if have and not want then say(h.id .. ': was left in the queue') end
      if want ~= (have and true or false) then alter(h, want and 'add' or 'del', m) end
    end
    slot(h, j.id, j.s[S_LANE], FLIES[state])
    local deadline = service_now() + (state == 'l' and LEASE_TTL or j.s[S_SILENCE])
    hold(K_LEASE, 'lease', x.key, FLIES[state], deadline, false, h.id, leases, unleases)
    hold(K_EXPIRY, 'expiry', x.key, state == 'q', f[UNTIL], true, h.id, expiries, unexpiries)
    hold(K_DELAYED, 'delayed', x.key, state == 'q' and f[WAIT] == 1, j.s[S_NOTBEFORE], true, h.id, delays, undelays)
  end
  if scope_of(j) ~= '' then newest(h, x) end
  local o = h.o
  if o and o[O_GATEWAY] ~= '' then
    local was, is = call('ZSCORE', K_READY, o[O_GATEWAY] .. '\0' .. h.id), is_ready(h)
    if is and not was then say(h.id .. ': was missing in ready') end
    if was and not is then say(h.id .. ': was left in ready') end
    h.recheck = h.recheck or is ~= (was and true or false)
  end
end
finish()
return lines
