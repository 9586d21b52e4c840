-- expand.lua: releases the planned targets from the cursor on: planned -> queued,
-- or -> cancelled where the job is cancelled or the incarnation is gone.
--
-- KEYS: 11.. q:<host> of each target given
-- ARGV: 2 job, 3 cursor that the caller knows, then host, incarnation of each target from there on
-- Returns: cursor after (-1: no such job), released, hints. A cursor that isn't
-- the caller's changes nothing: another has been there.

local j = job(ARGV[2])
if not j then return { -1, 0, {} } end
local cursor, n = tonumber(ARGV[3]), (#ARGV - 3) / 2
if j.c[C_CURSOR] ~= cursor or j.c[C_CONTROL] == 'p' or n == 0 then return { j.c[C_CURSOR], 0, {} } end

local names = {}
for i = 1, n do names[i] = ARGV[2 + 2 * i] end
read_hosts(names)
local released, notbefore = 0, j.s[S_NOTBEFORE]
for i = 1, n do
  local idx = cursor + i - 1
  if state_of(j, idx) == 'p' then
    local h, inc = host(names[i], KEYS[10 + i]), tonumber(ARGV[3 + 2 * i])
    local x, o = fresh(j, h, idx, inc), h.o
    if j.c[C_CONTROL] == 'c' then
      x.f[CANCELLED], x.f[WHY] = j.c[C_AT], j.c[C_WHY]
      ended(x, 'c', -1, '', j.c[C_WHY], now)
    elseif not o or o[O_DELETED] == 1 or o[O_REVOKED] == 1 or o[O_INC] ~= inc then
      ended(x, 'c', -1, '', WHY_REENROLLED, now)
    else
      x.f[RELEASED], x.f[UNTIL] = now, math.max(now, notbefore) + j.s[S_PICKUP]
      local wait = notbefore > now and 1 or 0
      if wait == 1 then put(K_DELAYED, 'zset', x.key, notbefore) end
      put(K_EXPIRY, 'zset', x.key, x.f[UNTIL])
      move(x, 'q', wait)
      h.hint = true
      released = released + 1
    end
  end
end
j.c[C_CURSOR], j.changed = cursor + n, true
return { cursor + n, released, finish() }
