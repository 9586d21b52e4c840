-- record.lua: stores events of one host, as queue.Held.Record does.
--
-- KEYS: for each call q:<host>, then o:<host>/<job> of each execution named; with a summary q:<host> if it finished
-- ARGV: calls (see every): host, number of keys, incarnation, generation, session or 0, false, then job, events of each execution
--   named. An event is { seq, kind, ... }: "a" token, position; "j" token, reason, at; "s";
--   "o" stream, bytes, chunk; "g" through, bytes, chunk; "f" outcome, exit, signal, reason, at, dropped.
--   Or a summary instead of false, and then the job: see quick().
-- Returns for each: "ok", acks; an ack is stored, verdict, reason.
--   "again" if the summary doesn't fit what is stored.

local function forget(f)
  local why = f[STATE] == 'c' and 'cancelled' or f[STATE] == 'e' and 'expired' or 'ended'
  return { f[STORED], 'forget', why }
end

-- Appends chunks to the output: small output stays in the record, more goes to
-- a list of segments, each after the offsets at which it begins.
local function store(x, key, chunks)
  local f, segment, size = x.f, {}, 0
  if f[DELETED] == 1 then return end
  if f[SEGS] == 0 and #chunks == 1 and #f[INLINE] + #chunks[1][3] <= INLINE_MAX then
    f[INLINE] = f[INLINE] .. chunks[1][3]
    return
  end
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
  local list = {}
  local function close(nextout, nexterr)
    if #segment > 0 then
      push(list, struct.pack('>I8I8', out, err) .. table.concat(segment))
      f[SEGS] = f[SEGS] + 1
    end
    segment, size, out, err = {}, 0, nextout, nexterr
  end
  size = 0
  if #f[INLINE] > 0 then
    push(list, struct.pack('>I8I8', 0, 0) .. f[INLINE])
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
  after('RPUSH', key, unpack(list))
end

local function silence(x) return service_now() + x.j.s[S_SILENCE] end

-- queue.Held.keeps: whether n more bytes of output, or of a gap in it, are kept.
local function keeps(x, n)
  local f = x.f
  if n == 0 then return false end
  if f[DROPPED] > 0 or n > x.j.s[S_BOUND] - f[OUT] - f[ERR] - f[GAP] then
    f[DROPPED] = math.min(f[DROPPED] + n, MAX_COUNT)
    return false
  end
  return true
end

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
  move(x, 'a', 0, silence(x))
  grow(f, STORED)
  f[STORED], f[ACCEPTED], f[GEN], f[POS] = 1, now, generation, e[4]
  f[MSG], f[SESSION] = 0, 0
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
  f[STORED] = e[1]
  touch(x)
  if kind == 'j' then return finish_as(x, 'j', -1, '', e[4], e[5]) end
  if kind == 'f' then
    local reason = e[6]
    if e[3] == 'c' and reason == '' and f[CANCELLED] ~= 0 then reason = f[WHY] end
    if e[8] > 0 then f[DROPPED] = math.min(f[DROPPED] + e[8], MAX_COUNT) end
    return finish_as(x, e[3], e[4], e[5], reason, e[7])
  end
  if kind == 'g' then
    f[STORED] = e[3]
    if keeps(x, e[4]) then
      f[GAP] = f[GAP] + e[4]
      chunks[#chunks + 1] = { 0, 0, e[5] }
    end
  elseif kind == 'o' and keeps(x, e[4]) then
    grow(f, INLINE)
    local at = e[3] == 2 and ERR or OUT
    f[at] = f[at] + e[4]
    x.j.c[C_OUT] = x.j.c[C_OUT] + e[4]
    chunks[#chunks + 1] = { e[3], e[4], e[5] }
  end
  if f[STATE] == 'a' then -- a gap may have swallowed started
    move(x, 'r', 0, silence(x))
    f[STARTED] = now
  end
end

local function apply(x, events, generation, chunks)
  local f, named, ours = x.f, false, false
  for i = 1, #events do
    local e = events[i]
    if e[2] == 'a' then named, ours = true, ours or e[3] == f[TOKEN] end
    if f[GEN] ~= '' and f[GEN] ~= generation then
      return { f[STORED], 'forget', 'other_generation' }
    elseif e[1] <= f[STORED] then
      -- acknowledged again
    elseif not ARROWS[f[STATE]] and (f[STATE] ~= 'x' or f[LATE] ~= 0) then
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

local function record(x, events, key, generation)
  local chunks = {}
  local ack = apply(x, events, generation, chunks)
  if #chunks > 0 then store(x, key, chunks) end
  return ack
end

local function needs(c, q, fields, seen)
  for i = 7, #c, 2 do need(fields, seen, c[1], c[i]) end
end

local function one(c, h, at)
  local o = h.o
  if not o or o[O_DELETED] == 1 then return { 'fail', 'not_found', 'no such host' } end
  if o[O_REVOKED] == 1 then return { 'fail', 'forbidden', 'the host is revoked' } end
  if o[O_INC] ~= c[3] then return { 'fail', 'superseded', 'the incarnation is ' .. o[O_INC] } end
  if c[5] ~= 0 and c[5] < o[O_EPOCH] then return { 'fail', 'superseded', 'session ' .. text_of(c[5]) .. ' was superseded' } end
  if c[6] then return { 'again' } end
  local acks = {}
  for i = 7, #c, 2 do
    local x, events = load(c[i], h), c[i + 1]
    if x then
      acks[#acks + 1] = record(x, events, KEYS[at + (i - 5) / 2], c[4])
    else
      acks[#acks + 1] = { 0, 'forget', job(c[i]) and 'stale_token' or 'unknown' } -- as in claim.lua
    end
  end
  return { 'ok', acks }
end

-- Events of one execution, one after the other, of which none was stored before; no gap, nothing rejected, nothing
-- that was cancelled, lost or dropped, and output that fits the record. The summary is { first, last, token ("" unless
-- the first is accepted), position, stdout, stderr, chunks, outcome, exit, signal, reason, at }, and ends with the last
-- that there is: a token alone is accepted, no outcome is not finished.
local function quick(c, q)
  local sum, v, id = c[6], own_read[c[1]], c[7]
  if not sum or not v then return nil end
  local _, inc, revoked, deleted, _, epoch = unmsg_first(v, 5)
  local key = c[1] .. '/' .. id
  local before, j = d_read[key], job(id)
  if not before or not j or inc ~= c[3] or revoked + deleted ~= 0 or c[5] ~= 0 and c[5] < epoch then return nil end
  local was, idx, at, wait, released, till, leased, deliveries, msg, session, token, accepted, gen, pos, stored, started,
    finished, exit, signal, reason, ended_at, out, err, inline, more = unmsg(before)
  if more or at ~= inc or sum[1] ~= (stored or 0) + 1 then return nil end
  local first, last = sum[1] == 1, sum[2]
  if first then
    if was ~= 'l' or sum[3] ~= token or now >= till then return nil end
    accepted, gen, pos = now, c[4], sum[4]
  elseif (was ~= 'a' and was ~= 'r') or gen ~= c[4] then
    return nil
  end
  local is, silent = first and 'a' or was, first
  local between = last - sum[1] + (first and 0 or 1) - (sum[8] and 1 or 0) -- accepted and finished
  if between > 0 and was ~= 'r' then is, started, silent = 'r', now, true end
  local chunks, bytes = sum[7], 0
  if chunks and chunks ~= '' then
    out, err, inline, bytes = (out or 0) + sum[5], (err or 0) + sum[6], inline or '', sum[5] + sum[6]
    if #inline + #chunks > INLINE_MAX or out + err > j.s[S_BOUND] then return nil end
    inline = inline .. chunks
  end
  local to
  if sum[8] then
    local _, inc, revoked, deleted, dup, epoch, active, gateway, transport, due, n, base, sent, cancelmsg, slots, list, due_at = unmsg_first(v, 16)
    if cancelmsg > sent or #list ~= 2 or list[1] ~= id or #first_page(q) > 0 then return nil end
    is = sum[8]
    to = pack(is, idx, at, 0, released, till, leased, deliveries, 0, 0, '', accepted, gen, pos, last, started or 0, now,
      sum[9], sum[10], sum[11], sum[12], out or 0, err or 0, inline or '')
    local own = pack(inc, revoked, deleted, dup, epoch, active, gateway, transport, due, n, base, sent, cancelmsg, slots, {})
    push(own_set, c[1], due_at and own .. pack(due_at) or own)
    push(unleases, key)
    if now > j.c[C_LAST] then j.c[C_LAST] = now end
  else
    if is == 'a' then
      to = pack(is, idx, at, 0, released, till, leased, deliveries, 0, 0, token, accepted, gen, pos, last)
    elseif inline then
      to = pack(is, idx, at, 0, released, till, leased, deliveries, 0, 0, token, accepted, gen, pos, last, started,
        0, 0, '', '', 0, out, err, inline)
    else
      to = pack(is, idx, at, 0, released, till, leased, deliveries, 0, 0, token, accepted, gen, pos, last, started)
    end
    if silent then push(leases, text_of(service_now() + j.s[S_SILENCE]), key) end
  end
  push(d_set, key, to)
  if was ~= is then
    count(j, was, is)
    set_state(j, idx, is)
  end
  j.c[C_REC], j.c[C_OUT], j.changed = j.c[C_REC] + #to - #before, j.c[C_OUT] + bytes, true
  return { 'ok', { { last, first and not sum[8] and 'go' or '', '' } } }
end

return one, needs, quick
