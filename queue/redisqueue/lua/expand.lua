-- expand.lua: releases the planned targets from the cursor on: planned -> queued,
-- or -> cancelled where the job is cancelled, the incarnation is gone, a newer job was released, or the host is to be
-- skipped.
--
-- KEYS: 7 gw, 8.. q:<host> of each target given
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
local released, slow, notbefore = 0, 0, j.s[S_NOTBEFORE]
local till, wait = math.max(now, notbefore) + j.s[S_PICKUP], notbefore > now and 1 or 0
local limit = j.c[C_LIMIT]
if limit and limit < till then till = limit end
local queued, lane, deadline, scope = place(j, wait), j.s[S_LANE], text_of(till), scope_of(j)
local skip = j.s[S_SKIP] == 1 and wait == 0
local usual = j.c[C_CONTROL] == 'a' and till > now and QUICK == 1 and scope == '' and not skip
if scope ~= '' then read_newest(j, names) end
-- A host that is as it was at the submit gets its execution; true if so.
local function quick(idx, id, q, inc)
  local v = own_read[id]
  if not v then return false end
  local at, revoked, deleted, dup, epoch, active, gateway, transport, due, n, base, sent, cancelmsg, slots, list = unmsg(v)
  if at ~= inc or revoked + deleted ~= 0 then return false end
  local key, used = id .. '/' .. j.id, 0
  local x = pack('q', idx, inc, wait, now, till)
  push(d_set, key, x)
  j.c[C_REC] = j.c[C_REC] + #x + #key - 1
  set_state(j, idx, 'q')
  push(expiries, deadline, key)
  push(q_adds, q, queued)
  if wait == 1 then
    push(delays, text_of(notbefore), key)
  elseif active == 1 and dup == 0 and gateway ~= '' then
    for i = 2, #list, 2 do
      if list[i] == lane then used = used + 1 end
    end
    if used < (slots[lane] or 1) then
      push(readies, '0', gateway .. '\0' .. id)
      push(hints, gateway, id)
    end
  end
  return true
end
for i = 1, n do
  local idx, inc = cursor + i - 1, tonumber(ARGV[3 + 2 * i])
  if state_of(j, idx) ~= 'p' then
    -- it was cancelled by itself
  elseif usual and quick(idx, names[i], KEYS[7 + i], inc) then
    released = released + 1
  else
    local h = host(names[i], KEYS[7 + i])
    local x, o = fresh(j, h, idx, inc), h.o
    local newer = scope ~= '' and superseded(x)
    if j.c[C_CONTROL] == 'c' then
      x.f[CANCELLED], x.f[WHY] = j.c[C_AT], j.c[C_WHY]
      ended(x, 'c', -1, '', j.c[C_WHY], now)
    elseif not o or o[O_DELETED] == 1 or o[O_REVOKED] == 1 or o[O_INC] ~= inc then
      ended(x, 'c', -1, '', WHY_REENROLLED, now)
    elseif newer then
      ended(x, 'c', -1, '', newer, now)
    elseif till <= now then
      ended(x, 'e', -1, '', WHY_EXPIRED, now)
    else
      if scope ~= '' then supersede(x) end
      if skip and is_offline(h, KEYS[7]) then
        ended(x, 'c', -1, '', WHY_OFFLINE, now)
      else
        x.f[RELEASED], x.f[UNTIL] = now, till
        move(x, 'q', wait)
        h.hint = true
        slow = slow + 1
      end
    end
  end
end
count(j, 'p', 'q', released)
j.c[C_CURSOR] = cursor + n
return { cursor + n, released + slow, finish() }
