-- record.lua: stores events of one host, as queue.Held.Record does.
--
-- KEYS: for each call q:<host>, then o:<host>/<job> of each execution named
-- ARGV: calls (see every): host, number of keys, incarnation, generation, then job, events of each execution named.
--   An event is { seq, kind, ... }: "a" token, position; "j" token, reason, at; "s";
--   "o" stream, bytes, chunk; "g" through, bytes, chunk; "f" outcome, exit, signal, reason, at, dropped.
-- Returns for each: "ok", acks; an ack is stored, verdict, reason.

local function forget(f)
  local why = f[STATE] == 'c' and 'cancelled' or f[STATE] == 'e' and 'expired' or 'ended'
  return { f[STORED], 'forget', why }
end

-- Appends chunks to the output: small output stays in the record, more goes to
-- a list of segments, each after the offsets at which it begins.
local function store(x, key, chunks)
  local f, segment, size = x.f, {}, 0
  if f[DELETED] == 1 then return end
  local out, err = f[OUT], f[ERR] -- where the next segment begins
  for _, c in ipairs(chunks) do
    if c[1] == 1 then out = out - c[2] elseif c[1] == 2 then err = err - c[2] end
    size = size + #c[3]
  end
  if f[SEGS] == 0 and #f[INLINE] + size <= INLINE_MAX then
    for _, c in ipairs(chunks) do segment[#segment + 1] = c[3] end
    f[INLINE] = f[INLINE] .. table.concat(segment)
    return
  end
  local function close(nextout, nexterr)
    if #segment > 0 then
      append(key, struct.pack('>I8I8', out, err) .. table.concat(segment))
      f[SEGS] = f[SEGS] + 1
    end
    segment, size, out, err = {}, 0, nextout, nexterr
  end
  size = 0
  if #f[INLINE] > 0 then
    append(key, struct.pack('>I8I8', 0, 0) .. f[INLINE])
    f[INLINE], f[SEGS] = '', f[SEGS] + 1
  end
  local nextout, nexterr = out, err
  for _, c in ipairs(chunks) do
    if size + #c[3] > SEGMENT_MAX then close(nextout, nexterr) end
    segment[#segment + 1] = c[3]
    size = size + #c[3]
    if c[1] == 1 then nextout = nextout + c[2] elseif c[1] == 2 then nexterr = nexterr + c[2] end
  end
  close(nextout, nexterr)
end

local function silence(x) put(K_LEASE, 'zset', x.key, service_now() + x.j.s[S_SILENCE]) end

-- Event 1; false if the execution ended instead of being accepted.
local function first(x, e, generation)
  local f = x.f
  if e[2] == 'j' then
    f[STORED] = 1
    ended(x, 'j', -1, '', e[4], e[5])
    return true
  end
  if f[CANCELLED] ~= 0 or now >= f[UNTIL] then
    end_lease(x)
    return false
  end
  move(x, 'a')
  f[STORED], f[ACCEPTED], f[GEN], f[POS] = 1, now, generation, e[4]
  f[MSG], f[SESSION] = 0, 0
  drop(K_EXPIRY, 'zset', x.key)
  silence(x)
  return true
end

local function finish_as(x, outcome, exit, signal, reason, at)
  local f = x.f
  if f[STATE] == 'x' then
    f[LATE] = { outcome, exit, signal, reason, at }
  else
    ended(x, outcome, exit, signal, reason, at)
  end
end

-- An event after accepted.
local function following(x, e, chunks)
  local f, kind = x.f, e[2]
  f[STORED], x.changed = e[1], true
  if kind == 'j' then return finish_as(x, 'j', -1, '', e[4], e[5]) end
  if kind == 'f' then
    local reason = e[6]
    if e[3] == 'c' and reason == '' and f[CANCELLED] ~= 0 then reason = f[WHY] end
    f[DROPPED] = f[DROPPED] + e[8]
    return finish_as(x, e[3], e[4], e[5], reason, e[7])
  end
  if kind == 'g' then
    f[STORED], f[GAP] = e[3], f[GAP] + e[4]
    chunks[#chunks + 1] = { 0, 0, e[5] }
  elseif kind == 'o' then
    local at = e[3] == 2 and ERR or OUT
    f[at] = f[at] + e[4]
    x.j.c[C_OUT] = x.j.c[C_OUT] + e[4]
    chunks[#chunks + 1] = { e[3], e[4], e[5] }
  end
  if f[STATE] == 'a' then -- a gap may have swallowed started
    move(x, 'r')
    f[STARTED] = now
    silence(x)
  end
end

local function record(x, events, key, generation)
  local f, named, ours, chunks = x.f, false, false, {}
  local function apply()
    for _, e in ipairs(events) do
      if e[2] == 'a' then named, ours = true, ours or e[3] == f[TOKEN] end
      local terminal = not ARROWS[f[STATE]]
      if f[GEN] ~= '' and f[GEN] ~= generation then
        return { f[STORED], 'forget', 'other_generation' }
      elseif e[1] <= f[STORED] then
        -- acknowledged again
      elseif terminal and (f[STATE] ~= 'x' or f[LATE] ~= 0) then
        return forget(f)
      elseif e[1] > f[STORED] + 1 then
        -- beyond the next: the ack says where to go on
      elseif e[1] == 1 then
        if f[STATE] ~= 'l' or e[3] ~= f[TOKEN] then return { f[STORED], 'forget', 'stale_token' } end
        if not first(x, e, generation) then return forget(f) end
      else
        following(x, e, chunks)
      end
    end
    if ours and (f[STATE] == 'a' or f[STATE] == 'r') then
      return { f[STORED], f[CANCELLED] ~= 0 and 'cancel' or 'go', '' }
    end
    if named and f[STATE] == 'x' and f[STORED] <= 1 then return forget(f) end
    return { f[STORED], '', '' }
  end
  local ack = apply()
  if #chunks > 0 then store(x, key, chunks) end
  return ack
end

local function one(c, h, at)
  local o = h.o
  if not o or o[O_DELETED] == 1 then return { 'fail', 'not_found', 'no such host' } end
  if o[O_REVOKED] == 1 then return { 'fail', 'forbidden', 'the host is revoked' } end
  if o[O_INC] ~= c[3] then return { 'fail', 'superseded', 'the incarnation is ' .. o[O_INC] } end
  local acks = {}
  for i = 5, #c, 2 do
    local x = load(c[i], h)
    if x then
      acks[#acks + 1] = record(x, c[i + 1], KEYS[at + (i - 3) / 2], c[4])
    else
      acks[#acks + 1] = { 0, 'forget', 'unknown' }
    end
  end
  return { 'ok', acks }
end

return every(one)
