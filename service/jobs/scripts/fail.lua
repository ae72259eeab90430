-- id, attempt, reason, 1 when it was lost or 0, most failures or losses, ms to keep an ended job
-- -> ok, 1 when tried again, failures or losses | missing | fenced
local id, attempt, reason, lost, limit, ttl = unpack(ARGV)
local refused = refusal(id, attempt)
if refused == "fenced" and get(id, "failed_by") == attempt then
  local count = get(id, lost == "1" and "losses" or "failed_attempts")
  return { "ok", ENDED[get(id, "status")] and 0 or 1, tonumber(count or 0) }
end
if refused then
  return { refused }
end
set(id, "failed_by", attempt)
return { "ok", fail_attempt(id, reason, lost == "1", tonumber(limit), tonumber(ttl)) }
