-- begin.lua: begins a submit, unless the job is there already, or another call
-- is submitting it.
--
-- KEYS: 1 all, 2 pending, 3 idem
-- ARGV: 1 clock offset, 2 job, 3 field in idem or "", 4 nonce of this call,
--       5 after how many microseconds another call counts as dead
-- Returns: "go", now; "busy"; "there", commit record; or "used", job, digest, commit record

if ARGV[3] ~= '' then
  local used = call('HGET', KEYS[3], ARGV[3])
  if used then
    local job, digest = used:sub(1, 26), used:sub(27)
    return { 'used', job, digest, call('HGET', KEYS[1], job) }
  end
end
local there = call('HGET', KEYS[1], ARGV[2])
if there then return { 'there', there } end
local t = call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1]
local pending = call('HGET', KEYS[2], ARGV[2])
if pending then
  local r = unmsg(pending)
  if r[1] == ARGV[4] then return { 'go', r[2] } end
  if r[1] ~= '' and now - r[2] < tonumber(ARGV[5]) then return { 'busy' } end
  now = math.max(now, r[2] + 1) -- attempts are told apart by their times
end
call('HSET', KEYS[2], ARGV[2], pack({ ARGV[4], now }))
return { 'go', now }
