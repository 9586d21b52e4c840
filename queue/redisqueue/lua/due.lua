-- due.lua: applies what is due: lapsed leases, silence, expiries, not_before.
--
-- KEYS: 7 gw, 8.. q:<host> of each item
-- ARGV: 2.. kind ("l", "e", "d" for lease, expiry, delayed), host, job of each item
-- Returns: lapsed, ended, lost, expired, due, skipped, hints

local lapsed, over, lost, expired, due, skipped = 0, 0, 0, 0, 0, 0
local kinds = { l = { K_LEASE, unleases }, e = { K_EXPIRY, unexpiries }, d = { K_DELAYED, undelays } }
for i = 2, #ARGV, 3 do
  local kind, h = ARGV[i], host(ARGV[i + 1], KEYS[8 + (i - 2) / 3])
  local name, zset, stale = h.id .. '/' .. ARGV[i + 2], kinds[kind][1], kinds[kind][2]
  local score = call('ZSCORE', zset, name)
  if score and tonumber(score) <= (kind == 'l' and service_now() or now) then
    local x = load(ARGV[i + 2], h)
    local state, was = x and x.f[STATE], x and x.was
    if kind == 'l' and state == 'l' then
      end_lease(x)
      if x.f[STATE] == 'q' then lapsed = lapsed + 1 else over = over + 1 end
    elseif kind == 'l' and (state == 'a' or state == 'r') then
      ended(x, 'x', -1, '', WHY_SILENT, now)
      lost = lost + 1
    elseif state == 'q' and (kind == 'e' or kind == 'd' and x.f[UNTIL] <= now) then
      ended(x, 'e', -1, '', WHY_EXPIRED, now)
      expired = expired + 1
    elseif kind == 'd' and state == 'q' and x.f[WAIT] == 1 and x.j.s[S_SKIP] == 1 and is_offline(h, KEYS[7]) then
      ended(x, 'c', -1, '', WHY_OFFLINE, now)
      skipped = skipped + 1
    elseif kind == 'd' and state == 'q' and x.f[WAIT] == 1 then
      move(x, 'q', 0)
      h.hint = true
      due = due + 1
    elseif state == was then
      push(stale, name) -- it isn't in a state that has it there
      if not x and kind == 'l' then land(h, ARGV[i + 2]) end -- its job was removed, see dismiss in mend.go: the slot is free
    end
  end
end
return { lapsed, over, lost, expired, due, skipped, finish() }
