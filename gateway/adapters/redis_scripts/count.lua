-- Add to any number of sliding windows (two fixed windows, weighted), by the server's clock.
-- KEYS[i]      a hash: b bucket number, c count of that bucket, p count of the bucket before
-- ARGV[2i-1]   amount to add, a whole number
-- ARGV[2i]     window, ms
-- result       for each key, as text (Redis would cut numbers): how many were counted in the window that ends now
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local result = {}
for i = 1, #KEYS do
  local amount, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local bucket = math.floor(now / window)
  local kept = redis.call('HMGET', KEYS[i], 'b', 'c', 'p')
  local last, current, previous = tonumber(kept[1] or bucket), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  if last ~= bucket then
    previous = (last == bucket - 1) and current or 0
    current = 0
  end
  current = current + amount
  redis.call('HSET', KEYS[i], 'b', string.format('%.0f', bucket), 'c', current, 'p', previous)
  redis.call('PEXPIRE', KEYS[i], 2 * window)
  result[i] = tostring(current + previous * (1 - (now % window) / window))
end
return result
