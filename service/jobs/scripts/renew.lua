-- id, attempt, lease in ms -> ok | missing | fenced
local id, attempt, lease = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
redis.call("ZADD", key("leases"), now + tonumber(lease), id)
return { "ok" }
