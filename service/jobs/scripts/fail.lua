-- id, attempt, reason, most attempts, ms to keep an ended job -> ok, 1 when tried again | missing | fenced
local id, attempt, reason, max_attempts, ttl = unpack(ARGV)
local refused = refusal(id, attempt)
if refused == "fenced" and get(id, "failed_by") == attempt then
  return { "ok", ENDED[get(id, "status")] and 0 or 1 }
end
if refused then
  return { refused }
end
set(id, "failed_by", attempt)
return { "ok", fail_attempt(id, reason, tonumber(max_attempts), tonumber(ttl)) and 1 or 0 }
