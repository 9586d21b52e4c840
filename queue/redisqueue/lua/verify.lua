-- verify.lua: holds state bytes, queues and deadlines of a job against its
-- records, or its counters against the state bytes, and repairs what differs.
--
-- KEYS: 11.. q:<host> of each target given
-- ARGV: 2 job, then index, host, incarnation of each target; without targets: the counters
-- Returns: a line for each difference

local lines, j = {}, job(ARGV[2])
if not j then return lines end
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

-- An entry that should or shouldn't be in a zset.
local function hold(key, label, name, want, score, who)
  local have = call('ZSCORE', key, name)
  if want and not have then
    say(who .. ': was missing in ' .. label)
    put(key, 'zset', name, score)
  elseif have and not want then
    say(who .. ': was left in ' .. label)
    drop(key, 'zset', name)
  end
end


for i = 3, #ARGV, 3 do
  local idx, h = tonumber(ARGV[i]), host(ARGV[i + 1], KEYS[10 + i / 3])
  local x, byte = load(j.id, h), state_of(j, idx)
  if not x and idx < j.c[C_CURSOR] and byte ~= 'p' then
    say(h.id .. ': its record is missing')
    x = fresh(j, h, idx, tonumber(ARGV[i + 2]))
    x.f[STATE], x.f[EXIT], x.f[REASON], x.f[AT], x.f[FINISHED] = 'x', -1, 'its record was lost', now, now
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
    local flies = state == 'l' or state == 'a' or state == 'r'
    local mine, wait = member(x), f[WAIT]
    local others = { '1' .. (x.suffix or ''), '2' .. (x.suffix or '') }
    if not x.suffix then -- it has ended: make the members that it might have
      f[STATE], f[WAIT] = 'q', 0
      others[2] = member(x)
      others[1] = '1' .. x.suffix
      f[STATE], f[WAIT] = state, wait
    end
    others[3] = '3' .. struct.pack('>I8', j.s[S_NOTBEFORE]) .. x.suffix
    for _, m in ipairs(others) do hold(h.q, 'the queue', m, m == mine, 0, h.id) end
    local deadline = service_now() + (state == 'l' and LEASE_TTL or j.s[S_SILENCE])
    hold(K_LEASE, 'lease', x.key, flies, deadline, h.id)
    if state ~= 'l' then hold(K_EXPIRY, 'expiry', x.key, state == 'q', f[UNTIL], h.id) end
    hold(K_DELAYED, 'delayed', x.key, state == 'q' and wait == 1, j.s[S_NOTBEFORE], h.id)
  end
  local o = h.o
  if o and o[O_GATEWAY] ~= '' then
    hold(K_READY, 'ready', o[O_GATEWAY] .. '\0' .. h.id, is_ready(h), 0, h.id)
  end
end
finish()
return lines
