-- id, index of the point, weights key, digest of its model, document -> ok | missing | dropped
local id, index, soup, digest, document = unpack(ARGV)
if redis.call("EXISTS", job_key(id)) == 0 then
  return { "missing" }
end
if tonumber(redis.call("ZSCORE", key("job", id, "order"), soup) or -1) ~= tonumber(index) then
  return { "dropped" }
end
if redis.call("HSETNX", key("job", id, "models"), index, document) == 1 then
  refer("models", digest)
end
return { "ok" }
