INSERT INTO metakg_events (seq, kind, user_id, item_id, body, time_s, received_s) VALUES (1, 'like', 'ann', 'i1', '{}', 1700000000, 1700000001);
INSERT INTO metakg_events (seq, kind, user_id, item_id, body, time_s, received_s) VALUES (2, 'item', NULL, 'i9', '{"label":"Nine","entity":null,"facts":[["by","e1",null]]}', 1700000002, 1700000002);
INSERT INTO metakg_events (seq, kind, user_id, item_id, body, time_s, received_s) VALUES (4, 'undo', 'ben', 'i2', '{}', 1700000003, 1700000003);
UPDATE metakg_counter SET last = 4;
INSERT INTO metakg_answers (key, request, answer, time_s) VALUES ('cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4', '24383d1638fa367ffac3b70508c4502845e3085d305f099d5e180c60d2654248', '{"accepted": 1, "duplicates": 0}', 4000000000);
