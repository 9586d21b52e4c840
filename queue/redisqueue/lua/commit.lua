-- commit.lua: the commit point of a submit.
--
-- KEYS: 1 all, 2 pending, 3 idem, 4 open, 5 time, 6 live
-- ARGV: 1 job, 2 nonce, 3 commit record, 4 field in idem or "", 5 digest, 6 member of time, 7 created
-- Returns: "done"; "there", commit record; "used", job, digest, commit record; or "gone" if another attempt took over

if ARGV[4] ~= '' then
  local used = call('HGET', KEYS[3], ARGV[4])
  if used then
    local job, digest = used:sub(1, 26), used:sub(27)
    return { 'used', job, digest, call('HGET', KEYS[1], job) }
  end
end
local there = call('HGET', KEYS[1], ARGV[1])
if there then return { 'there', there } end
local pending = call('HGET', KEYS[2], ARGV[1])
if not pending or unmsg(pending)[1] ~= ARGV[2] then return { 'gone' } end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then call('HSET', KEYS[3], ARGV[4], ARGV[1] .. ARGV[5]) end
call('ZADD', KEYS[4], ARGV[7], ARGV[1])
call('ZADD', KEYS[5], 0, ARGV[6])
call('ZADD', KEYS[6], 0, ARGV[1])
call('HDEL', KEYS[2], ARGV[1])
return { 'done' }
