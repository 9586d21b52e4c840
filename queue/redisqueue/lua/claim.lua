-- claim.lua: makes a new session the owner of a host; judges its executions by
-- the hello, as queue.Held.Hello does.
--
-- KEYS: for each call q:<host>, facts
-- ARGV: calls (see every): host, 2, incarnation, gateway, transport, due, agent version, boot id,
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

  local online = false
  if o[O_ACTIVE] == 1 then
    if o[O_TRANSPORT] == 'socket' then
      online = tonumber(call('HGET', K_GW, o[O_GATEWAY]) or 0) > now
    else
      online = o[O_DUE] > now
    end
  end
  local twice = online and o[O_GEN] ~= generation
  if nonce ~= '' and o[O_GEN] == generation then
    for _, past in ipairs(o[O_PAST]) do twice = twice or past == nonce end
  end
  h.changed, h.touched = true, true
  if twice then
    o[O_DUP] = now
    if o[O_ACTIVE] == 1 then h.tell = o[O_GATEWAY] end
    return { 'duplicate' }
  end

  if o[O_GEN] ~= generation then
    o[O_PAST] = {}
  elseif nonce ~= '' and o[O_NONCE] ~= '' and o[O_NONCE] ~= nonce then
    table.insert(o[O_PAST], o[O_NONCE])
    if #o[O_PAST] > 16 then table.remove(o[O_PAST], 1) end
  end
  local before = o[O_ACTIVE] == 1 and o[O_GATEWAY] or ''
  if o[O_GATEWAY] ~= '' and o[O_GATEWAY] ~= gateway then
    drop(K_READY, 'zset', o[O_GATEWAY] .. '\0' .. h.id)
    if before ~= '' then h.tell = before end
  end
  o[O_EPOCH] = math.max(o[O_EPOCH] + 1, math.floor(now / 1000))
  o[O_ACTIVE], o[O_GATEWAY], o[O_TRANSPORT], o[O_SINCE] = 1, gateway, transport, now
  o[O_DUE] = due > 0 and now + due or 0
  o[O_AGENT], o[O_BOOT], o[O_GEN], o[O_NONCE], o[O_SLOTS] = c[7], c[8], generation, nonce, c[12]
  o[O_BASE], o[O_SENT] = o[O_N], o[O_N]

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

  local named, flying = {}, {}
  for m in pairs(inflight(h)) do flying[#flying + 1] = m:sub(-26) end
  for _, hand in ipairs(c[13]) do
    local id, token, seq = hand[1], hand[2], hand[3]
    named[id] = true
    local x = load(id, h)
    if not x then
      tell(id, 0, 'forget', 'unknown')
    else
      local f = x.f
      if f[GEN] ~= '' and f[GEN] ~= generation then
        tell(id, f[STORED], 'forget', 'other_generation')
      elseif f[STATE] == 'l' and f[TOKEN] == token then
        f[SESSION], x.changed = o[O_EPOCH], true
        put(K_LEASE, 'zset', x.key, service_now() + LEASE_TTL)
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
  for _, id in ipairs(flying) do
    local x = not named[id] and load(id, h)
    if x then
      local f = x.f
      if f[STATE] == 'l' then
        end_lease(x)
      elseif f[GEN] ~= generation or f[POS] <= position then
        ended(x, 'x', -1, '', WHY_VANISHED, now)
        lost = lost + 1
      elseif f[CANCELLED] ~= 0 then
        tell(id, f[STORED], 'cancel')
      end
    end
  end
  h.hint = false -- the claimer reads the queue next
  if call('HGET', KEYS[at + 1], h.id) ~= c[14] then put(KEYS[at + 1], 'hash', h.id, c[14]) end
  local epoch, n = o[O_EPOCH], o[O_N]
  return { 'ok', epoch, n, now, lost, before, verdicts }
end

return every(one)
