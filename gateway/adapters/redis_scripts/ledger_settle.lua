-- How a hand-over ended, for the recipients of one message, by the server's clock.
-- KEYS[1]  the hash of ledger_begin.lua
-- ARGV[1]  owner
-- ARGV[2]  how long "done" is remembered, ms
-- ARGV[3]  how many of the recipients are done; they come first, those that are free behind them
-- ARGV[4..] recipients
-- result   1
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, ttl, done = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 4, #ARGV do
  if i - 3 <= done then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('D%.0f', now + ttl))
  elseif string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^H%d+:(.*)$') == owner then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
if done > 0 and redis.call('PTTL', KEYS[1]) < ttl then
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return 1
