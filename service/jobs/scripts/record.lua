-- id, attempt, seconds to keep the journal, best or "", then for each point: weights key, journal key, index,
-- forward passes, backward passes, known | evaluated | pruned, document, packed outcome or "" to leave the journal as it is
-- -> ok, newly recorded | missing | fenced | not_started
local id, attempt, keep, best = unpack(ARGV, 1, 4)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
local scope = get(id, "scope")
if not scope then
  return { "not_started" }
end

local journal = key("journal", scope)
local recorded, evaluated, pruned_points, forward, backward = 0, 0, 0, 0, 0

local function record(soup, name, index, images, gradients, kind, document, outcome)
  if outcome ~= "" then
    redis.call("HSET", journal, name, outcome)
    redis.call("EXPIRE", journal, keep)
  end
  if redis.call("HSETNX", key("job", id, "points"), soup, document) == 0 then
    return
  end
  redis.call("ZADD", key("job", id, "order"), index, soup)
  recorded = recorded + 1
  -- A pruned point is unfinished: whether it may be dropped depends on the other points of this search.
  if kind == "pruned" then
    pruned_points = pruned_points + 1
  end
  if kind ~= "known" then
    evaluated = evaluated + 1
    forward = forward + tonumber(images)
    backward = backward + tonumber(gradients)
  end
  append_event(id, "point", document)
end

for first = 5, #ARGV, 8 do
  record(unpack(ARGV, first, first + 7))
end

local better = best ~= "" and best ~= get(id, "best")
if recorded == 0 and not better then
  return { "ok", 0 }
end
if better then
  set(id, "best", best)
  append_event(id, "best", best)
end
if recorded > 0 then
  redis.call("EXPIRE", journal, keep)
  redis.call("HINCRBY", job_key(id), "done", recorded)
  redis.call("HINCRBY", job_key(id), "pruned", pruned_points)
  redis.call("HINCRBY", job_key(id), "images", forward)
  redis.call("HINCRBY", job_key(id), "backward", backward)
  redis.call("HINCRBY", job_key(id), "attempt_points", evaluated)
  set(id, "progress_at", now)
  progress_event(id)
end
return { "ok", recorded }
