-- claim.lua: makes a new session the owner of a host; judges its executions by
-- the hello, as queue.Held.Hello does.
--
-- KEYS: for each call q:<host>, ses, facts, gw
-- ARGV: calls (see every): host, 4, incarnation, gateway, transport, due, agent version, boot id,
--       generation, position, nonce, slots by lane, { {job, token, seq}, ... in hand }, facts
-- Returns for each: "ok", session, n, now, lost, gateway before, verdicts; or "duplicate".
--       A verdict is job, stored, verdict, reason.

local function one(c, h, at)
  local inc, gateway, transport, due, generation, position, nonce = c[3], c[4], c[5], c[6], c[9], c[10], c[11]
  local o = h.o
  if not o or o[O_DELETED] == 1 then return { 'fail', 'not_found', 'no such host' } end
  if o[O_REVOKED] == 1 then return { 'fail', 'forbidden', 'the host is revoked' } end
  if o[O_INC] ~= inc then return { 'fail', 'superseded', 'the incarnation is ' .. o[O_INC] } end
  if o[O_DUP] ~= 0 then return { 'duplicate' } end

  local e, online = session_of(h, KEYS[at + 1]), false
  if o[O_ACTIVE] == 1 then
    if o[O_TRANSPORT] == 'socket' then
      online = tonumber(call('HGET', KEYS[at + 3], o[O_GATEWAY]) or 0) > now
    else
      online = o[O_DUE] > now
    end
  end
  local twice = online and e[E_GEN] ~= generation
  if nonce ~= '' and e[E_GEN] == generation then
    for i = 1, #e[E_PAST], 2 do
      if e[E_PAST][i] == nonce then
        if now - (tonumber(e[E_PAST][i + 1]) or 0) < TRANSIT then return { 'fail', 'superseded', 'another process of it has come since' } end
        twice = true
      end
    end
  end
  h.changed, h.recheck = true, true
  if twice then
    o[O_DUP] = now
    if o[O_ACTIVE] == 1 then h.tell = o[O_GATEWAY] end
    return { 'duplicate' }
  end

  if e[E_GEN] ~= generation then
    e[E_PAST] = {}
  elseif nonce ~= '' and e[E_NONCE] ~= '' and e[E_NONCE] ~= nonce then
    push(e[E_PAST], e[E_NONCE], now)
    if #e[E_PAST] > 32 then
      table.remove(e[E_PAST], 1)
      table.remove(e[E_PAST], 1)
    end
  end
  local before = o[O_ACTIVE] == 1 and o[O_GATEWAY] or ''
  if o[O_GATEWAY] ~= '' and o[O_GATEWAY] ~= gateway then
    push(unreadies, o[O_GATEWAY] .. '\0' .. h.id)
    if before ~= '' then h.tell = before end
  end
  o[O_EPOCH] = math.max(o[O_EPOCH] + 1, floor(now / 1000))
  o[O_ACTIVE], o[O_GATEWAY], o[O_TRANSPORT], o[O_SLOTS] = 1, gateway, transport, c[12]
  o[O_DUE], o[O_UNTIL] = due > 0 and now + due or 0, transport ~= 'socket' and (due > 0 and service_now() + due or 0) or nil
  o[O_BASE], o[O_SENT] = o[O_N], o[O_N]
  after('HSET', KEYS[at + 1], h.id, pack(now, generation, nonce, c[8], c[7], e[E_PAST]))

  local verdicts, lost = {}, 0
  local function tell(id, stored, verdict, reason)
    verdicts[#verdicts + 1] = id
    verdicts[#verdicts + 1] = stored
    verdicts[#verdicts + 1] = verdict
    verdicts[#verdicts + 1] = reason or ''
  end
  local function forget(id, f)
    local why = f[STATE] == 'c' and 'cancelled' or f[STATE] == 'e' and 'expired' or 'ended'
    tell(id, f[STORED], 'forget', why)
  end
  -- Whether nothing of an ended execution is to be forgotten: all is stored, or it is kept as late.
  local function wants(f, seq)
    if f[STATE] == 'x' and seq <= 1 then return f[STORED] > 1 end
    return seq <= f[STORED] or f[STATE] == 'x' and f[LATE] == 0
  end

  local named = {}
  local in_flight = flying(h)
  for _, hand in ipairs(c[13]) do
    local id, token, seq = hand[1], hand[2], hand[3]
    named[id] = true
    local x = load(id, h)
    if not x then -- one that is planned was taken back by a failover, and will be delivered again
      tell(id, 0, 'forget', job(id) and 'stale_token' or 'unknown')
    else
      local f = x.f
      if f[GEN] ~= '' and f[GEN] ~= generation then
        tell(id, f[STORED], 'forget', 'other_generation')
      elseif f[STATE] == 'l' and f[TOKEN] == token then
        f[SESSION], x.deadline = o[O_EPOCH], service_now() + LEASE_TTL
        touch(x)
        tell(id, f[STORED], '')
      elseif ARROWS[f[STATE]] and f[GEN] == '' then
        if f[STATE] == 'l' then end_lease(x) end
        tell(id, f[STORED], 'forget', 'stale_token')
      elseif not ARROWS[f[STATE]] then
        if wants(f, seq) then tell(id, f[STORED], '') else forget(id, f) end
      else
        tell(id, f[STORED], f[CANCELLED] ~= 0 and 'cancel' or 'go')
      end
    end
  end
  for _, id in ipairs(in_flight) do
    local x = load(id, h)
    local f = x and x.f
    if not f or not FLIES[f[STATE]] then
      land(h, id) -- a slot that nothing is in any more
    elseif named[id] then
      -- told above
    elseif f[STATE] == 'l' then
      end_lease(x)
    elseif f[GEN] ~= generation or f[POS] <= position then
      ended(x, 'x', -1, '', WHY_VANISHED, now)
      lost = lost + 1
    elseif f[CANCELLED] ~= 0 then
      tell(id, f[STORED], 'cancel')
    end
  end
  h.hint = false -- the claimer reads the queue next
  if call('HGET', KEYS[at + 2], h.id) ~= c[14] then after('HSET', KEYS[at + 2], h.id, c[14]) end
  return { 'ok', o[O_EPOCH], o[O_N], now, lost, before, verdicts }
end

return one
