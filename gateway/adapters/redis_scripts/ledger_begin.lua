-- Record "handing over" for the recipients of one message, by the server's clock.
-- KEYS[1]  a hash: recipient -> "D<until, ms>" (done) or "H<until, ms>:<owner>" (handing over)
-- ARGV[1]  owner
-- ARGV[2]  lease, ms
-- ARGV[3..] recipients
-- result   for each recipient: ours, busy or done
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, lease = ARGV[1], tonumber(ARGV[2])
local result, ours = {}, false
for i = 3, #ARGV do
  local state, ends, holder = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^(%u)(%d+):?(.*)$')
  if state and tonumber(ends) > now and (state == 'D' or holder ~= owner) then
    result[i - 2] = state == 'D' and 'done' or 'busy'
  else
    redis.call('HSET', KEYS[1], ARGV[i], string.format('H%.0f:%s', now + lease, owner))
    result[i - 2], ours = 'ours', true
  end
end
if ours and redis.call('PTTL', KEYS[1]) < lease then
  redis.call('PEXPIRE', KEYS[1], lease)
end
return result
