-- Lets the server wait for another program's lock on its SQLite database. Without it SQLite fails at once, whoever
-- holds the lock and however briefly, and Prosody 0.12 answers the client with an error or not at all.
module:set_global();
module:hook("server-started", function ()
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		assert(engine:transaction(function ()
			engine:select("PRAGMA busy_timeout = 5000");
		end));
	end
end, 1);
