-- cancel.lua: ends or flags executions of one job.
--
-- KEYS: 7.. q:<host> of each target given
-- ARGV: 2 job, 3 "1" if the whole job is cancelled, 4 why, then index, host, incarnation of each target
-- Returns: cancelled, asked, hints

local j = job(ARGV[2])
if not j then return { 0, 0, {} } end
if ARGV[3] == '1' and j.c[C_CONTROL] ~= 'c' then
  j.c[C_CONTROL], j.c[C_WHY], j.c[C_AT], j.changed = 'c', ARGV[4], now, true
end
local cancelled, asked = 0, 0
for i = 5, #ARGV, 3 do
  local idx = tonumber(ARGV[i])
  local state = state_of(j, idx)
  if ARROWS[state] then
    local h = host(ARGV[i + 1], KEYS[7 + (i - 5) / 3])
    local x = state == 'p' and fresh(j, h, idx, tonumber(ARGV[i + 2])) or load(j.id, h)
    if x then
      local how = cancel(x, ARGV[4])
      if how == 'c' then cancelled = cancelled + 1 end
      if how == 'a' then asked = asked + 1 end
    end
  end
end
return { cancelled, asked, finish() }
