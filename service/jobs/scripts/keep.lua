-- id, index of the point, digest of its model, document -> ok | missing
local id, index, digest, document = unpack(ARGV)
if redis.call("EXISTS", job_key(id)) == 0 then
  return { "missing" }
end
if redis.call("HSETNX", key("job", id, "models"), index, document) == 1 then
  refer("models", digest)
end
return { "ok" }
