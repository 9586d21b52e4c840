-- due.lua: applies what is due: lapsed leases, silence, expiries, not_before.
--
-- KEYS: 11.. q:<host> of each item
-- ARGV: 2.. kind ("l", "e", "d" for lease, expiry, delayed), host, job of each item
-- Returns: lapsed, ended, lost, expired, due, hints

local lapsed, over, lost, expired, due = 0, 0, 0, 0, 0
for i = 2, #ARGV, 3 do
  local kind, h = ARGV[i], host(ARGV[i + 1], KEYS[11 + (i - 2) / 3])
  local key = kind == 'l' and K_LEASE or kind == 'e' and K_EXPIRY or K_DELAYED
  local name = h.id .. '/' .. ARGV[i + 2]
  local score = call('ZSCORE', key, name)
  if score and tonumber(score) <= (kind == 'l' and service_now() or now) then
    local x = load(ARGV[i + 2], h)
    local state = x and x.f[STATE]
    if kind == 'l' and state == 'l' then
      end_lease(x)
      if x.f[STATE] == 'q' then lapsed = lapsed + 1 else over = over + 1 end
    elseif kind == 'l' and (state == 'a' or state == 'r') then
      ended(x, 'x', -1, '', WHY_SILENT, now)
      lost = lost + 1
    elseif kind == 'e' and state == 'q' then
      ended(x, 'e', -1, '', WHY_EXPIRED, now)
      expired = expired + 1
    elseif kind == 'd' and state == 'q' and x.f[WAIT] == 1 then
      drop(key, 'zset', name)
      move(x, 'q')
      h.hint = true
      due = due + 1
    else -- a leased one past its time ends with its lease
      drop(key, 'zset', name)
    end
  end
end
return { lapsed, over, lost, expired, due, finish() }
