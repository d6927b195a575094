-- Lets Prosody 0.12 share its SQLite database with other programs, a backup service for instance. As it is packaged, a
-- lock that anybody holds for a millisecond is an error for a client, or no answer at all, for two reasons:
-- its driver sets no busy timeout; and where a transaction reads before it writes, as saving a contact list may, SQLite
-- does not wait, because both sides could wait for ever. Such a transaction was rolled back, and is run again.
module:set_global();

local attempts = 20;

local function is_locked(err)
	return tostring(err):find("database is locked", 1, true) ~= nil;
end

local function be_patient(engine)
	local run = engine._transaction;
	function engine:_transaction(...)
		for _ = 1, attempts do
			local ok, err, more, rest = run(self, ...);
			if ok or not is_locked(err) then
				return ok, err, more, rest;
			end
			module:log("info", "Runs a transaction again: %s", err);
		end
		return run(self, ...);
	end
	assert(engine:transaction(function ()
		engine:select("PRAGMA busy_timeout = 5000");
	end));
end

module:hook("server-started", function ()
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		be_patient(engine);
	end
end, 1);
